package route

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
)

// Controller is who serves an IngressClass, as its spec.controller says it.
const Controller = "trireme.dev/ingress"

// Class is the IngressClass that every cluster has.
const Class = "trireme"

// Annotations of an Ingress.
const (
	// ClassAnnotation is how ingresses named their class before there was a field.
	ClassAnnotation = "kubernetes.io/ingress.class"
	// RedirectAnnotation "true" sends who asks for a host of spec.tls over HTTP to HTTPS.
	RedirectAnnotation = "trireme.dev/https-redirect"
	// CertificateAnnotation says who makes the certificates of spec.tls: ClusterCertificate,
	// the cluster's own authority; ACMECertificate, a server outside; empty: whoever made
	// the secrets.
	CertificateAnnotation = "trireme.dev/certificate"
	ClusterCertificate    = "cluster"
	ACMECertificate       = "acme"
)

// Issuers are who makes certificates.
var Issuers = []string{ClusterCertificate, ACMECertificate}

const ofIngress = "ingress."

// IngressPart is the key of an Ingress' part.
func IngressPart(key object.Key) object.Key {
	return object.Key{Namespace: key.Namespace, Name: ofIngress + key.Name}
}

// IngressOf is the inverse of IngressPart; false where the part is of another kind.
func IngressOf(part object.Key) (object.Key, bool) {
	name, ok := strings.CutPrefix(part.Name, ofIngress)
	return object.Key{Namespace: part.Namespace, Name: name}, ok
}

// OfIngress returns what an Ingress adds.
func OfIngress(i *networkingv1.Ingress) *Part {
	at := IngressPart(object.KeyOf(i))
	p := &Part{ObjectMeta: metav1.ObjectMeta{Namespace: at.Namespace, Name: at.Name}, Since: i.CreationTimestamp, Ports: []Port{{Port: HTTPPort}}}
	secured := map[string]bool{}
	if len(i.Spec.TLS) > 0 {
		p.Ports = append(p.Ports, Port{Port: HTTPSPort, TLS: true})
	}
	for _, t := range i.Spec.TLS {
		hosts := t.Hosts
		if len(hosts) == 0 {
			hosts = []string{""} // "the wildcard host setting for the loadbalancer" (API reference, IngressTLS)
		}
		for _, h := range hosts {
			h = strings.ToLower(h)
			secured[h] = true
			if t.SecretName != "" {
				p.Certificates = append(p.Certificates, Certificate{HTTPSPort, h, object.Key{Namespace: i.Namespace, Name: t.SecretName}})
			}
		}
	}
	redirects := i.Annotations[RedirectAnnotation] == "true"
	add := func(r Rule) {
		r.OneLabel = true
		https := len(i.Spec.TLS) > 0 && (secured[r.Host] || secured[""] || r.Host == "" || coveredBy(r.Host, secured))
		if https {
			r.Port = HTTPSPort
			p.Rules = append(p.Rules, r)
		}
		if r.Port = HTTPPort; https && redirects {
			r.Backends, r.Redirect = nil, &Redirect{Scheme: "https", Status: 308}
		}
		p.Rules = append(p.Rules, r)
	}
	for _, r := range i.Spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for _, path := range r.HTTP.Paths {
			add(Rule{Host: strings.ToLower(r.Host), Path: ingressPath(path), Backends: []Backend{ingressBackend(i, &path.Backend)}})
		}
	}
	if b := i.Spec.DefaultBackend; b != nil {
		add(Rule{Backends: []Backend{ingressBackend(i, b)}})
		for _, r := range i.Spec.Rules { // a rule without paths sends all of its host there
			if r.HTTP == nil {
				add(Rule{Host: strings.ToLower(r.Host), Backends: []Backend{ingressBackend(i, b)}})
			}
		}
	}
	return p
}

// coveredBy reports whether a wildcard among the hosts stands for one.
func coveredBy(host string, hosts map[string]bool) bool {
	_, rest, ok := strings.Cut(host, ".")
	return ok && hosts["*."+rest]
}

func ingressPath(p networkingv1.HTTPIngressPath) Path {
	if p.PathType != nil && *p.PathType == networkingv1.PathTypeExact {
		return Path{Exact, p.Path}
	}
	// "/a/" is "/a" (API reference, HTTPIngressPath), and takes no request from who had that
	// first.
	if len(p.Path) > 1 {
		return Path{Prefix, strings.TrimSuffix(p.Path, "/")}
	}
	return Path{Prefix, p.Path}
}

func ingressBackend(i *networkingv1.Ingress, b *networkingv1.IngressBackend) Backend {
	if b.Service == nil {
		return Backend{Weight: 1, Invalid: true} // spec.resource: we have none
	}
	return Backend{
		Service: object.Key{Namespace: i.Namespace, Name: b.Service.Name},
		Port:    b.Service.Port.Number, PortName: b.Service.Port.Name, Weight: 1,
	}
}

// Older reports whether an Ingress comes before another where both ask for the same.
func Older(i, than *networkingv1.Ingress) bool { return older(OfIngress(i), OfIngress(than)) < 0 }

// Serves reports whether an Ingress is ours. classes are all that there are.
func Serves(i *networkingv1.Ingress, classes map[string]*networkingv1.IngressClass) bool {
	name := ""
	if i.Spec.IngressClassName != nil {
		name = *i.Spec.IngressClassName
	} else if name = i.Annotations[ClassAnnotation]; name == "" {
		name = defaultClass(classes)
	}
	c := classes[name]
	return c != nil && c.Spec.Controller == Controller
}

// defaultClass returns the class of who names none: the newest that is marked as it,
// as Kubernetes' admission of ingresses chooses; then the first by name.
func defaultClass(classes map[string]*networkingv1.IngressClass) string {
	var best *networkingv1.IngressClass
	for _, c := range classes {
		if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true" {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&c.CreationTimestamp) ||
			best.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < best.Name {
			best = c
		}
	}
	if best == nil {
		return ""
	}
	return best.Name
}
