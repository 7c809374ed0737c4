// Package route is how requests from outside find a service: one form, whatever kind
// says it.
//
//	Ingress ── orchestrate/route ──► rows routes: one Part an object
//	challenges of ACME servers ── certify/acme ──► rows routes
//	dispatch: to the nodes that serve them, with the secrets of their certificates
//	Part… ── Compile ──► Table, which a node's proxy asks for each request
//
// A Part says everything: which ports are open, which certificates are shown there,
// which requests go where. A node decides nothing but which endpoint of a service.
//
// Which rule has a request follows the Gateway API (HTTPRouteRule, HTTPRouteMatch) and
// the Ingress: the most specific host, an exact path, the longest prefix, a method,
// the most headers, the most query parameters, the oldest object, its name.
//
// It is pure, and knows no table and no socket. A Table is immutable.
package route
