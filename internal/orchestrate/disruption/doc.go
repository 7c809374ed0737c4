// Package disruption says of every PodDisruptionBudget how many of its pods may be
// evicted now (Kubernetes, "Disruptions"): it writes the budget's status.
//
// It is not for evicting: the door that takes an Eviction looks at the status, takes one
// from disruptionsAllowed and deletes the pod in one transaction, so that two evictions
// never use the same allowance. A pod that is to go is not healthy any more, whoever
// deletes it.
//
// How many pods there should be is what their owners say: Deployment, ReplicaSet,
// StatefulSet, ReplicationController. Pods of other owners can be guarded by a number in
// minAvailable only, as with Kubernetes where an owner has no scale.
//
// The cache holds which pods each budget selects and which of them are healthy; a step
// costs the pods that changed. It is rebuilt from row heads at a full pass.
//
// How to debug: testdata/*.txtar.
package disruption
