// Package own is how loops take pods and let them go: a pod that a workload
// selects and that is nobody's is adopted, one of its own that it does not select
// any more is released (Kubernetes, "ReplicaSet", "Non-Template Pod
// acquisitions").
//
// It is not for finding such pods: each loop keeps that in its cache.
package own
