// Package peers reads network policies: whom a policy selects, and for whom its
// peers stand.
//
// A peer that names pods by labels is a Group. Who is in it depends on every pod
// and namespace of the cluster, so the manager works that out, once for all
// policies that say the same: orchestrate/peergroup writes one Part a group and
// node, dispatch sends a group's parts to the nodes whose pods need it, and the
// dataplane makes sets of addresses of them. Everything else of a policy is read
// where the selected pod runs.
//
// A named port means another number in each pod. In an ingress rule it is the
// selected pod's own, and looked up there; in an egress rule it is the peer's, so
// it belongs to the group, whose members then are addresses with ports.
//
// The meaning follows the API reference of networking.k8s.io/v1 NetworkPolicy.
// Pods in their node's network are nobody's peers: they speak with its address.
//
// It is pure, and knows no table and no kernel.
package peers
