// Package offer is the second level of scheduling: it lends frameworks what is free (DESIGN.md §5;
// Apache Mesos, src/master/allocator/mesos/hierarchical.cpp is what it does the work of).
//
// # The engine
//
// Engine is pure and knows no tables: agents with what nobody has of them, frameworks in their
// roles, tenants with weights, guarantees and limits, and what is lent and refused. A cycle looks
// at the agents that changed. Each goes whole to the framework that stands lowest in the tree
// of shares (internal/share) and may have it; what is lent counts as allocated. Unlike Mesos since
// 1.7.1 the order is that of the moment, not of the beginning of the cycle: one framework does not
// get all agents of a cycle.
//
//	stage 1  roles whose guarantee is not met get that, and what else does not hurt others
//	stage 2  everybody, in order: what is reserved for them always, of the rest what limits
//	         leave them and what guarantees of others can spare
//
// # The loop
//
// Loop is offer/offers. It writes the table of offers (internal/object/mesos, Offer): it makes
// them, rescinds those whose room, node or framework is gone or that were not answered in time,
// and takes refusals away whose time is over. What a node has left it counts with the scheduler's
// own account (internal/schedule/room); that somebody takes lent room is the scheduler's to
// decide (schedule, "Offers").
//
// # How to debug
//
// The table of offers; `trireme tenant ls` for the shares; the tests in engine_test.go say each rule
// in a few lines.
package offer
