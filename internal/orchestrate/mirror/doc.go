// Package mirror shows hand-written Endpoints as EndpointSlices: what leads
// traffic reads slices only (Kubernetes, "EndpointSlice mirroring").
//
// Endpoints are mirrored if a service of their name has no selector, unless they
// carry the label endpointslice.kubernetes.io/skip-mirror or a leader election's
// annotation. Each subset makes a slice for each family of addresses and each 100
// of them; slices are matched by family and ports, so that a change writes few.
// The Endpoints own their slices.
//
// It is not for services with a selector (endpoints).
//
// How to debug: kubectl get endpointslices -l
// endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io.
package mirror
