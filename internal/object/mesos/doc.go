// Package mesos holds our own group mesos.trireme.dev and the rows of the Mesos door
// (docs/decisions/0012): what frameworks, agents, offers and tasks are here, and what can be
// read from them alone.
//
//	Framework, Agent            objects (framework.yaml, agent.yaml): what survives a manager
//	Offer, Accept, Task, Notice rows in memory: what dies with a stream or with a leader
//
// The messages in them are those of Mesos v1 (internal/mesos/v1); in objects they stand in
// Mesos' JSON. A message in a row is shared by all who read it: change a clone.
//
// It is pure. Who writes what is told in the decision.
package mesos
