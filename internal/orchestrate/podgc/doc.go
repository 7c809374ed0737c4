// Package podgc removes pods that no agent will ever report as gone: those that
// are to end and were never bound to a node, and those whose node does not exist
// any more.
//
// It is not for pods on nodes that are down (node) and not for dependents of
// deleted owners (gc).
//
// A pod may name a node that is yet to join, so pods of a missing node are given
// 40 s, as Kubernetes does; a pod that is to end anyway is not. The 40 s are
// counted from when this manager first saw the node missing: a new leader counts
// anew, which errs on the safe side.
//
// How to debug: testdata/*.txtar.
package podgc
