// Package marathon is the Marathon door: Marathon's REST API, over the committed state and
// the Kubernetes door.
//
//	clients ──HTTP──► route ──► handler ──► reads: a snapshot of the store
//	                                   └──► writes: the Kubernetes door in process, as
//	                                        whoever asks: admission, quotas and audit are
//	                                        the same
//
// What changes apps goes one way (change.go): what there is and what is wanted make a plan,
// which is written as a Deployment, then the apps are; orchestrate/marathon does the rest.
// One such change is made at a time, so that none misses another's lock.
//
// Objects are package object/marathon's: an app is its kind App, an instance a Pod. It is
// not for the control loops (orchestrate/marathon) nor for what an instance is as a pod
// (object/marathon).
package marathon
