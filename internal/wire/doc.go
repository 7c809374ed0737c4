// Package wire is what managers and agents have in common: certificates, join
// tokens and the session protocol between them.
//
// # Identity
//
// One certificate authority a cluster, in <root>/pki. Every certificate says who
// its holder is: a manager (CN=system:trireme:manager, O=system:masters), an
// administrator (CN=admin, O=system:masters), a node (CN=system:node:NAME,
// O=system:nodes). Everything speaks mTLS from the first start.
//
// # Session
//
// An agent dials a manager and keeps one bidirectional gRPC stream. It says who
// it is, then reports statuses; the manager answers with the full set of what
// the node needs, then with deltas. Kubernetes objects travel as their own
// protobuf encoding. A side that falls behind is cut and starts over with a
// full set: nothing is buffered without bound.
//
// # How to debug
//
// The agent logs every session's start and end with the reason.
package wire
