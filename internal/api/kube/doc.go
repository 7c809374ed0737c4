// Package kube is the Kubernetes door: the REST API that kubectl, helm and
// client-go speak, on the machinery of k8s.io/apiserver over views of the
// store's tables (docs/decisions/0001).
//
// It holds wire formats and handlers, no decisions: what is filled in or refused
// stands in package admit, addresses in allocate, everything that happens after a
// write in the control loops.
//
// # How a kind is served
//
// One line in resources.go names its table, its list type and its subresources.
// The hub version of the library, which Kubernetes itself fills with internal
// types, is here the stored API version again: scheme.go registers every Go type
// under its own version and under the hub.
//
// # How to debug
//
// `kubectl -v8` shows every request; /metrics counts them; /readyz?verbose names
// the part that is not ready.
package kube
