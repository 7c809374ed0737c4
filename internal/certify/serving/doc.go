// Package serving answers what asks for certificates of the cluster's own authority
// (package ask): trireme.dev/certificate: cluster.
//
// Names that parts of the cluster are known by are refused, wildcards that cover them
// included: who may write an Ingress must not become the API. A certificate is for
// servers alone and names no subject, so that it is nobody's identity.
//
// What stands in the way is an event of the Ingress.
package serving
