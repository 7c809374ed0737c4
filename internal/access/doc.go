// Package access decides who may do what: Kubernetes' RBAC over the tables of
// roles and bindings, the narrower rules of nodes, and the roles that every
// cluster starts with.
//
// It is not for finding out who asks (package account, and the doors'
// certificates), and not for what a request may contain (admit). It does no I/O:
// a Rules is compiled from a snapshot and answers from memory.
//
// # Tables
//
// Reads roles, rolebindings, clusterroles and clusterrolebindings; the node rules
// read pods. Bootstrap writes the four.
//
// # Cost
//
// A Checker compiles the rules again when one of the four tables changed, at the
// first question after it; a question costs a map lookup a group of the asker and
// a scan of the rules granted to it.
//
// # How to debug
//
// `kubectl auth can-i VERB RESOURCE --as NAME -v8` shows the reason of each
// answer; `kubectl auth can-i --list` shows all that a user may do.
package access
