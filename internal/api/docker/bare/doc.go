// Package bare says which pod `docker run` and `docker create` ask for: a bare one,
// with one container, whose annotations keep the request word for word.
//
// What a swarm service's task can be too is mapped by object/swarm, as one task of a
// service that nobody keeps; here is what docker run alone has. Every field that a pod
// cannot be is an error that names it.
//
// It is pure: no I/O and no clock. It is not for what becomes of the pod (package
// docker) nor for what clients are shown of it (package view).
//
// How to debug: `kubectl get pod NAME -o yaml` shows the request and what became of it.
package bare
