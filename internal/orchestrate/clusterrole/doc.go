// Package clusterrole fills in the rules of the cluster roles that are made of
// others (Kubernetes, "Using RBAC Authorization", Aggregated ClusterRoles): the
// rules of every role that a selector picks, in order of their names, each once.
// What somebody wrote there himself is overwritten.
//
// It is not for deciding anything with them (access).
//
// How to debug: testdata/*.txtar.
package clusterrole
