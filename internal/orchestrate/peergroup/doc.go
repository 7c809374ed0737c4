// Package peergroup keeps whom the peers of network policies stand for: a row for
// each group and node that has members of it (package object/peers).
//
// It is not for what a policy allows: that is read on the nodes of the pods it
// selects.
//
// Work follows what changed. A group lists the namespaces whose pods may be its
// members, so a changed pod is matched against the groups of its namespace, and a
// change rewrites the row of its node alone: at most a node's pods, whatever the
// group's size. A pod is a member from when it has an address until it has ended.
//
// Caches are dropped at a full pass and made from policies, namespaces and pods.
//
// How to debug: testdata/*.txtar; on a node `nft list sets table ip trireme0`
// shows the groups it was sent.
package peergroup
