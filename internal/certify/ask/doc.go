// Package ask is what asks for certificates: Ingresses whose annotation
// trireme.dev/certificate names an issuer. Each entry of spec.tls is an Ask, for a secret
// of type kubernetes.io/tls that the Ingress owns. A secret that is there and is not the
// Ingress' own is left alone. A certificate is renewed when a third of its life is left,
// and made anew when the hosts change.
//
// It is for issuers, serving and acme, which are no control loops because they sign, or
// ask others to: Keep calls them when there may be something to do, Of says what is asked
// of them, Put writes what they made, Tell says what stands in the way.
//
// # Tables
//
// Reads ingresses, ingressclasses and secrets; writes secrets, and events.
package ask
