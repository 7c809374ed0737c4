// Package floatingip makes a FloatingIP for each service of type LoadBalancer that
// is to have an address of a pool, and chooses the node that answers for each
// FloatingIP.
//
//	target   node
//	Pod      the pod's own
//	Service  a ready one, the same as long as it is ready; with the traffic policy
//	         Local, one that has a ready endpoint
//
// It writes status.node and the condition Announced; a service's FloatingIP is its
// own altogether but for the address. A node that is chosen while none is ready
// stays: its own lease says whether it still answers.
//
// It is not for addresses (allocate/floating), nor for what the node does with one
// (dataplane).
//
// How to debug: kubectl describe floatingip NAME; events of the service.
package floatingip
