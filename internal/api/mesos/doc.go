// Package mesos is the Mesos door: POST /api/v1/scheduler, by which frameworks subscribe, are
// offered parts of nodes and launch tasks (Apache Mesos, docs "Scheduler HTTP API"), and the
// mount of the operator API (operator).
//
//	framework ──SUBSCRIBE──► stream ◄── rows that changed: offers, tasks, notices
//	          ──other calls──► writer ──► rows: accepts, offers refused, kills, acknowledgements
//
// The door holds connections and nothing else. A stream is told which of its framework's rows
// changed and looks at the committed state: an offer that is new is sent, one that is gone is
// rescinded, the first update of a task that waits is sent, again and again until its
// acknowledgement. So what waits for a slow reader is bounded by rows, and one that takes
// nothing for a while is cut. Calls are written in the order in which they came, many in one
// transaction.
//
// Who asks is package basic's business; a framework may subscribe with a role where its user
// may create pods in the role's namespace.
//
// It is not for what an ACCEPT means (orchestrate/mesos) nor for who is offered what
// (schedule/offer).
package mesos
