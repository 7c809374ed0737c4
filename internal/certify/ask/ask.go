package ask

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// Ask is one certificate that an Ingress wants.
type Ask struct {
	Ingress *networkingv1.Ingress
	Field   string         // of the Ingress: "spec.tls[0]"
	Secret  object.Key     // which is to hold it
	Hosts   []string       // lower case, sorted, each once
	Have    *corev1.Secret // what is there; nil: nothing

	issuer string
}

// Of returns what an Ingress asks of an issuer, a value of the annotation: nothing where
// the Ingress is not there, is not ours or asks somebody else.
func Of(r store.Reader, key object.Key, issuer string) []Ask {
	i, ok := tables.Ingresses.Get(r, key)
	if !ok || i.DeletionTimestamp != nil || i.Annotations[route.CertificateAnnotation] != issuer || !route.Serves(i, classes(r)) {
		return nil
	}
	var all []Ask
	for n, t := range i.Spec.TLS {
		if t.SecretName == "" || len(t.Hosts) == 0 {
			continue
		}
		a := Ask{
			Ingress: i, Field: fmt.Sprintf("spec.tls[%d]", n), Hosts: names(t.Hosts),
			Secret: object.Key{Namespace: i.Namespace, Name: t.SecretName}, issuer: issuer,
		}
		a.Have, _ = tables.Secrets.Get(r, a.Secret)
		all = append(all, a)
	}
	return all
}

func classes(r store.Reader) map[string]*networkingv1.IngressClass {
	all := map[string]*networkingv1.IngressClass{}
	for c := range tables.IngressClasses.All(r) {
		all[c.Name] = c
	}
	return all
}

func names(hosts []string) []string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = strings.ToLower(h)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Refused returns why no issuer makes the certificate, empty where one may: the secret is
// somebody else's, or a host is a name inside of the cluster, whose domain is given.
func (a *Ask) Refused(domain string) string {
	if a.Have != nil && !metav1.IsControlledBy(a.Have, a.Ingress) {
		return "the secret is there and is not the ingress' own: delete it, or leave the annotation out"
	}
	for _, h := range a.Hosts {
		switch {
		case !strings.Contains(h, "."):
			return fmt.Sprintf("%q has no dot: only names outside of the cluster are signed for", h)
		case strings.HasSuffix(h, ".svc") || strings.HasSuffix(h, "."+domain) || h == domain:
			return fmt.Sprintf("%q is a name inside of the cluster", h)
		}
	}
	return ""
}

// Held returns the certificate that the secret holds if it is this issuer's and for the
// hosts, else nil.
func (a *Ask) Held() *x509.Certificate {
	if a.Have == nil || a.Have.Annotations[route.CertificateAnnotation] != a.issuer || len(a.Have.Data[corev1.TLSPrivateKeyKey]) == 0 {
		return nil
	}
	block, _ := pem.Decode(a.Have.Data[corev1.TLSCertKey])
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !slices.Equal(names(c.DNSNames), a.Hosts) {
		return nil
	}
	return c
}

// RenewAt is when a certificate is to be renewed: a third of its life is left then.
func RenewAt(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}

// NewKey makes the private key of a certificate, and its PEM form.
func NewKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// Put makes the secret hold what the issuer made. It does nothing and returns false where
// the secret has changed or the Ingress has gone meanwhile: the change comes to Keep too.
func (a *Ask) Put(tx *store.Tx, data map[string][]byte) bool {
	now, ok := tables.Secrets.Get(tx, a.Secret)
	if ok != (a.Have != nil) || ok && now.ResourceVersion != a.Have.ResourceVersion || !a.stands(tx) {
		return false
	}
	next := &corev1.Secret{ObjectMeta: a.Owned(a.Secret.Name)}
	if ok {
		next = now.DeepCopy()
	}
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, route.CertificateAnnotation, a.issuer)
	next.Type, next.Data = corev1.SecretTypeTLS, data
	tables.Secrets.Put(tx, next)
	return true
}

// Owned returns the metadata of a secret that goes with the Ingress.
func (a *Ask) Owned(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: a.Ingress.Namespace, Name: name,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(a.Ingress, networkingv1.SchemeGroupVersion.WithKind("Ingress"))},
	}
}

// besideEnd ends the names of secrets beside those that are asked for.
const besideEnd = ".acme"

// Beside is the key of a secret in which an issuer keeps how far it has come.
func (a *Ask) Beside() object.Key {
	return object.Key{Namespace: a.Secret.Namespace, Name: a.Secret.Name + besideEnd}
}

// stands reports whether who asks is there still.
func (a *Ask) stands(tx *store.Tx) bool {
	i, ok := tables.Ingresses.Get(tx, object.KeyOf(a.Ingress))
	return ok && i.UID == a.Ingress.UID
}

// from is who tells of certificates.
const from = "ingress-certificates"

// Issued says that there is a certificate, in an event of the Ingress.
func (a *Ask) Issued(tx *store.Tx, until time.Time) {
	tell.About(tx, tables.Ingresses, a.Ingress, tell.Event{
		From: from, Type: corev1.EventTypeNormal, Reason: "CertificateIssued",
		Message: fmt.Sprintf("%s: secret %s has a certificate for %s until %s", a.Field, a.Secret.Name, strings.Join(a.Hosts, ", "), until.UTC().Format(time.RFC3339)),
	})
}

// Tell says why there is no certificate, in an event of the Ingress, once.
func (a *Ask) Tell(tx *store.Tx, reason, why string) {
	tell.Once(tx, tables.Ingresses, a.Ingress, tell.Event{
		From: from, Type: corev1.EventTypeWarning, Reason: reason,
		Message: fmt.Sprintf("%s: no certificate for secret %s: %s", a.Field, a.Secret.Name, why),
	})
}
