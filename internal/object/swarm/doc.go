// Package swarm holds our own kind Service of the group swarm.trireme.dev: what a
// swarm user wrote (Docker Engine API, ServiceSpec) word for word, and how it reads as
// a pod.
//
//	what                                    who writes it
//	spec                                    its user, through the Docker door or any other;
//	                                        orchestrate/swarm where an update is rolled back
//	previousSpec, runs                      whoever writes the spec: what was there before
//	status                                  orchestrate/swarm
//	Pods of it, the core Services beside it orchestrate/swarm
//	Secrets, ConfigMaps (File)              their user; copies of those of other namespaces
//	                                        the Docker door, what templates expand to the loop
//	Volumes                                 their user, or orchestrate/namedvolumes for the
//	                                        first pod; its finalizer is that loop's
//
// A task is a Pod; its slot, generation and service are labels. Ids are UIDs in the
// form that docker's clients know (ID), names of objects are docker's folded to what
// Kubernetes takes (Place).
//
// It is pure: what the kind is, and what can be read from an object alone. What a pod
// cannot be is an error that names the field (Template).
package swarm
