// Package serving gives Ingresses that ask for it certificates of the cluster's own
// authority: trireme.dev/certificate: cluster. Each entry of spec.tls gets its secret,
// of type kubernetes.io/tls, which the Ingress owns; it is renewed when a third of its
// life is left, and made anew when the hosts change.
//
// A secret that is there and is not the Ingress' own is left alone. Names that parts of
// the cluster are known by are refused, wildcards that cover them included: who may
// write an Ingress must not become the API. A certificate is for servers alone and
// names no subject, so that it is nobody's identity.
//
// It is no control loop because it signs. What stands in the way is an event of the
// Ingress.
package serving
