package validate

import (
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// classAnnotation is how ingresses named their class before there was a field.
const classAnnotation = "kubernetes.io/ingress.class"

func ingress(i *networkingv1.Ingress) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &i.Spec
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		errs = append(errs, field.Invalid(at, s.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if s.DefaultBackend != nil {
		errs = append(errs, ingressBackend(s.DefaultBackend, at.Child("defaultBackend"))...)
	}
	for i, r := range s.Rules {
		p := at.Child("rules").Index(i)
		if r.Host != "" {
			errs = append(errs, ingressHost(r.Host, p.Child("host"))...)
		}
		if r.HTTP == nil {
			continue
		}
		if len(r.HTTP.Paths) == 0 {
			errs = append(errs, field.Required(p.Child("http", "paths"), ""))
		}
		for j := range r.HTTP.Paths {
			errs = append(errs, ingressPath(&r.HTTP.Paths[j], p.Child("http", "paths").Index(j))...)
		}
	}
	for i, t := range s.TLS {
		p := at.Child("tls").Index(i)
		for j, h := range t.Hosts {
			errs = append(errs, wildcard(h, p.Child("hosts").Index(j))...)
		}
		if t.SecretName != "" {
			errs = append(errs, subdomain(t.SecretName, p.Child("secretName"))...)
		}
	}
	if n := s.IngressClassName; n != nil {
		errs = append(errs, subdomain(*n, at.Child("ingressClassName"))...)
		if i.ResourceVersion == "" && i.Annotations[classAnnotation] != "" {
			errs = append(errs, field.Invalid(field.NewPath("annotations").Child(classAnnotation), i.Annotations[classAnnotation], "can not be set when the class field is also set"))
		}
	}
	return errs
}

func ingressHost(host string, at *field.Path) field.ErrorList {
	if _, err := netip.ParseAddr(host); err == nil {
		return field.ErrorList{field.Invalid(at, host, "must be a DNS name, not an IP address")}
	}
	return wildcard(host, at)
}

// wildcard checks a DNS name whose first label may be a star.
func wildcard(host string, at *field.Path) (errs field.ErrorList) {
	msgs := validation.IsDNS1123Subdomain(host)
	if strings.Contains(host, "*") {
		msgs = validation.IsWildcardDNS1123Subdomain(host)
	}
	for _, msg := range msgs {
		errs = append(errs, field.Invalid(at, host, msg))
	}
	return errs
}

func ingressPath(p *networkingv1.HTTPIngressPath, at *field.Path) (errs field.ErrorList) {
	if p.PathType == nil {
		errs = append(errs, field.Required(at.Child("pathType"), "pathType must be specified"))
		return append(errs, ingressBackend(&p.Backend, at.Child("backend"))...)
	}
	errs = append(errs, oneOf(*p.PathType, at.Child("pathType"), networkingv1.PathTypeExact, networkingv1.PathTypePrefix, networkingv1.PathTypeImplementationSpecific)...)
	if *p.PathType != networkingv1.PathTypeImplementationSpecific || p.Path != "" {
		if !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(at.Child("path"), p.Path, "must be an absolute path"))
		}
	}
	if *p.PathType != networkingv1.PathTypeImplementationSpecific {
		for _, seq := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(p.Path, seq) {
				errs = append(errs, field.Invalid(at.Child("path"), p.Path, "must not contain '"+seq+"'"))
			}
		}
		for _, end := range []string{"/..", "/."} {
			if strings.HasSuffix(p.Path, end) {
				errs = append(errs, field.Invalid(at.Child("path"), p.Path, "cannot end with '"+end+"'"))
			}
		}
	}
	return append(errs, ingressBackend(&p.Backend, at.Child("backend"))...)
}

func ingressBackend(b *networkingv1.IngressBackend, at *field.Path) (errs field.ErrorList) {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		errs = append(errs, required(b.Resource.Kind, at.Child("resource", "kind"))...)
		return append(errs, required(b.Resource.Name, at.Child("resource", "name"))...)
	case b.Service == nil:
		return field.ErrorList{field.Required(at, "either `service` or `resource` must be specified")}
	}
	p := at.Child("service")
	if b.Service.Name == "" {
		errs = append(errs, field.Required(p.Child("name"), ""))
	} else {
		for _, msg := range validation.IsDNS1035Label(b.Service.Name) {
			errs = append(errs, field.Invalid(p.Child("name"), b.Service.Name, msg))
		}
	}
	switch port := b.Service.Port; {
	case port.Name != "" && port.Number != 0:
		errs = append(errs, field.Invalid(p, "", "cannot set both port name & port number"))
	case port.Name != "":
		for _, msg := range validation.IsValidPortName(port.Name) {
			errs = append(errs, field.Invalid(p.Child("port", "name"), port.Name, msg))
		}
	case port.Number != 0:
		errs = append(errs, portNumber(port.Number, p.Child("port", "number"))...)
	default:
		errs = append(errs, field.Required(p, "port name or number is required"))
	}
	return errs
}

// ingressStatus checks where an ingress says that it answers.
func ingressStatus(s *networkingv1.IngressStatus, at *field.Path) (errs field.ErrorList) {
	for i, in := range s.LoadBalancer.Ingress {
		p := at.Child("loadBalancer", "ingress").Index(i)
		if in.IP != "" {
			errs = append(errs, address(in.IP, p.Child("ip"))...)
		}
		if in.Hostname == "" {
			continue
		}
		errs = append(errs, subdomain(in.Hostname, p.Child("hostname"))...)
		if _, err := netip.ParseAddr(in.Hostname); err == nil {
			errs = append(errs, field.Invalid(p.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address"))
		}
	}
	return errs
}
