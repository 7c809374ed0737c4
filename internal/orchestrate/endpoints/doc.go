// Package endpoints tells who answers for a Service: it keeps the EndpointSlices
// and, in the old form, the Endpoints of every service with a selector
// (Kubernetes, "EndpointSlices").
//
// It is not for services without a selector (their owner writes the slices), and
// not for addresses of services (allocate) or pods.
//
// Work follows what changed: a changed pod is matched against the services of its
// namespace through an index of one label of each selector; a service remembers its
// pods and in which slice each stands, and only slices in which something changed
// are written. A slice holds up to 100 endpoints of one set of ports; the old form
// holds 1,000 and, above 100, is written once a second at most, because it is
// written whole each time. After a step that wrote many slices of one service the
// next waits some milliseconds for each, so that a mass start is not a write of
// every slice in every tick.
//
// A pod is an endpoint from when it has an address until it has ended. ready:
// it is ready and not on its way out, or the service publishes all; serving: it is
// ready; terminating: it is on its way out.
//
// Caches are dropped at a full pass and made from services, slices and pods.
//
// How to debug: kubectl get endpointslices -l kubernetes.io/service-name=NAME;
// testdata/*.txtar.
package endpoints
