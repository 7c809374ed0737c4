// Package dispatch is the leader's side of the sessions with agents: it hands each
// node what concerns it, and writes what nodes report.
//
// # What it is for
//
// Assignments: one pump a table reads committed events and marks keys dirty in the
// sessions they concern; a session's sender takes its dirty set and reads the
// newest snapshot. A set is never longer than the tables are, so nothing grows
// however slow an agent is, and many changes of one key cost one message.
//
// Statuses: the reports of all sessions meet in one queue and are applied in
// groups, one transaction for all that came while the last one was committing.
//
// Nodes: a node's row is made at its hello. Liveness is the session, in memory
// alone; a node that stays away longer than the grace becomes Unknown, once. Where
// most nodes were away, those that come back are told nothing until all are there,
// for 3 s at most: they go on with what they know.
//
// It is not for taints and eviction (orchestrate/node), addresses (allocate) or
// the protocol's encoding (wire).
//
// # Tables
//
// Reads pods, secrets, configmaps, serviceaccounts, services, endpointslices,
// nodes, clustertrustbundles, networkpolicies, peergroups, routes, runtimeclasses,
// csidrivers, volumeattachments, floating IPs and the tasks of Mesos' custom executors, whose
// updates it writes, with what these executors say to their frameworks. Writes the status of pods and nodes,
// deletes pods that are terminating and gone from their node, makes nodes and csinodes,
// says in claims' status how far their volumes have grown on their nodes,
// and writes and prunes events.
//
// # Trust
//
// A session speaks for the node that its certificate names: it gets that node's
// pods, what they refer to, the network policies that select them and the groups these
// name, where it answers for ingresses the routes and the secrets of their certificates,
// and may report on pods bound to it. A join token
// lets a machine take any name that has no live session.
//
// # How to debug
//
// Every session's start and end is logged with its node and reason.
package dispatch
