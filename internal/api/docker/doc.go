// Package docker is the Docker door: the part of the Docker Engine API by which
// docker's clients run services, over the committed state and the Kubernetes door.
//
//	docker ──HTTP──► route ──► handler ──► reads: a snapshot of the store
//	                                  └──► writes: the Kubernetes door in process, so that
//	                                       admission, quotas and audit are the same
//
// A handler gets a call and returns what to answer or an error; errors have one table
// (errors.go). Nothing is kept between calls. Objects are package object/swarm's: a
// service is its kind Service, a task a Pod, a node a Node.
//
// It is not for the control loop (orchestrate/swarm) nor for what a task is as a pod
// (object/swarm).
package docker
