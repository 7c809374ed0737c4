// Package agent runs the pods that are assigned to this node.
//
// It pulls: a session with a manager brings the node's pods and what they refer
// to; statuses and events go back. One worker a pod holds what is known of the
// pod, asks package machine for the next step and executes it. Decisions are
// pure; everything that takes time runs beside the worker and reports back
// to it, so a worker never waits.
//
// Pods outlive managers and agents. The last assignments lie in
// ROOT/agent/assignments, and what runs is found again in the runtime by the
// pod's UID, the container's name and its attempt (the restart count). What
// belongs to no assigned pod is ended once a manager has sent a full set, never
// before.
//
// It is not for scheduling, addresses or policy: a pod that comes is run.
//
// # Ordering and concurrency
//
// Assignments are applied one after another, the network's part first. Workers
// are independent; the steps of one container are serial. Status reports are
// made from one goroutine a pod, newest wins.
//
// # How to debug
//
// GET /pods on the agent's HTTPS shows what it was assigned, events show what it
// did, and the log names pod and container of each failed step.
package agent
