package tables

import (
	networkingv1 "k8s.io/api/networking/v1"

	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
)

// IngressesBySecret finds the ingresses that ask for a certificate in a secret, by its
// key as a string.
const IngressesBySecret = "secret"

// Ingresses holds the ingresses.
var Ingresses = func() *store.Table[*networkingv1.Ingress, none] {
	spec := declare[networkingv1.Ingress]("ingresses", networking("Ingress"), "ingress")
	spec.Namespaced = true
	spec.Indexes[IngressesBySecret] = func(i *networkingv1.Ingress) []string {
		if i.Annotations[route.CertificateAnnotation] == "" {
			return nil
		}
		var secrets []string
		for _, t := range i.Spec.TLS {
			secrets = append(secrets, object.Key{Namespace: i.Namespace, Name: t.SecretName}.String())
		}
		return secrets
	}
	return store.NewTable(spec)
}()
