// Package mesos is the control loops of the Mesos door (docs/decisions/0012).
//
//	mesos/agents      an Agent beside each Node: its id, whether it is reached
//	mesos/drain       ends the tasks of agents that are drained; they are gone then, where asked for
//	mesos/frameworks  removes frameworks that were torn down or stayed away too long
//	mesos/accept      takes ACCEPTs apart: tasks become Pods, reservations and volumes move
//	mesos/tasks       tells tasks what their Pods have been through, and ends them
//
// It is not for making offers (schedule/offer), nor for what a task is as a Pod and a Pod's
// state as a status (object/mesos), nor for connections (api/mesos).
//
// How to debug: testdata/*.txtar, and `kubectl get frameworks.mesos.trireme.dev`.
package mesos
