// Package gateway is the meaning of the Gateway API (gateway.networking.k8s.io, its
// standard channel): what Gateways listen on, which routes attach to them, and what a
// route says in the one form that nodes know (package route).
//
//	Gateway ── Read ──► listeners and their faults ── Part ──► ports, certificates
//	HTTPRoute, GRPCRoute, TLSRoute ── Attach ──► places ── Part ──► rules
//
// Definitions are the kinds themselves, as the module sigs.k8s.io/gateway-api has them.
//
// What is refused has a reason of the API reference and a message that names the field.
// It is pure: what references lead to, it asks Facts. It knows no table; who writes the
// rows and statuses is orchestrate/gateway.
package gateway

//go:generate go run ../../../hack/crds definitions_gen.json.gz sigs.k8s.io/gateway-api config/crd/standard/gateway.networking.k8s.io_gatewayclasses.yaml config/crd/standard/gateway.networking.k8s.io_gateways.yaml config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml config/crd/standard/gateway.networking.k8s.io_httproutes.yaml config/crd/standard/gateway.networking.k8s.io_referencegrants.yaml config/crd/standard/gateway.networking.k8s.io_tlsroutes.yaml
