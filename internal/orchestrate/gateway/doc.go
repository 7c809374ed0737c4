// Package gateway reads Gateways and the routes that attach to them, writes the one
// form that nodes' proxies know (package object/route), and tells every object what
// became of it. What the objects mean is package object/gateway.
//
//	kind                            row                         status it writes
//	GatewayClass                    -                           all
//	Gateway                         NAMESPACE/gateway.NAME      all: nodes that answer, listeners, routes attached
//	HTTPRoute, GRPCRoute, TLSRoute  NAMESPACE/httproute.NAME …  parents[] of ours; others' stay
//
// A Gateway is ours where its class is accepted and ours. It is looked at again when
// the secrets, grants and nodes that it depends on change; a route, when a Gateway that
// it names, its services, its namespace's labels or grants do.
//
// All Gateways share the nodes' ports. Which of them says whether a port speaks TLS is
// decided by age; 80 never does, 443 always.
//
// It is not for endpoints, nor for opening ports: a node knows them itself.
//
// How to debug: testdata/*.txtar; kubectl describe gateway NAME, httproute NAME.
package gateway
