// Package network holds our own kind Network: a tenant's network, with addresses
// of its own that may be the same as another's or the cluster's, and how a pod says
// which networks it is on (the NPWG's Kubernetes Network Custom Resource Definition
// De-facto Standard 1.3, sections 3.2 and 4.1: the annotations
// k8s.v1.cni.cncf.io/networks and k8s.v1.cni.cncf.io/network-status).
//
//	what                                who writes it
//	spec of a Network                   its user
//	status, finalizer of a Network      allocate/networks
//	rows networkmembers                 allocate/networks: who has which address, on which node
//	annotation network-status of a Pod  allocate/networks, from these rows
//	annotation networks of a Service    its user, or the loop that made it (Wish)
//	annotation namespaces of a Network  its user: whose pods may be on it (Open)
//
// A row of networkmembers is an EndpointSlice, whose namespace is the network's ID
// and whose name is the node's: its endpoints are the pods of the network on that
// node. Another row is a core Service as it is known on the network (Front). It is no
// kind of the API's: no door shows it. Nodes go by these rows, never
// by annotations, which anybody who may change the pod can write.
//
// It is pure: what the kinds are, and what can be read from an object alone.
package network
