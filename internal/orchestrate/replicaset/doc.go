// Package replicaset keeps as many pods alive as each ReplicaSet asks for
// (Kubernetes, "ReplicaSet"): it creates, adopts, releases and deletes pods, and
// writes the set's status. Another loop of the same code does it for
// ReplicationControllers, which differ in words only: noun.go.
//
// It is not for rolling out changes (deployment does that by sizing sets) and it
// never touches a pod's status or node.
//
// Counts are kept by set and adjusted by the pods that changed, so that a tick in
// a set of 10,000 pods costs what changed, not 10,000. The cache is dropped and
// rebuilt from row heads at every full pass; no pod is decoded to be counted.
// Sets with minReadySeconds are counted anew from heads when one of their pods
// changes or matures.
//
// Pods of one set share everything but their metadata: the template's spec is
// handed to all of them, which is safe because rows never change.
//
// How to debug: testdata/*.txtar.
package replicaset
