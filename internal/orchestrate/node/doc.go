// Package node keeps the taints that say how a node stands, and evicts pods that
// do not bear them (Kubernetes, "Taints and Tolerations", taint based eviction).
//
//	condition Ready    False    node.kubernetes.io/not-ready    NoSchedule, NoExecute
//	                   Unknown  node.kubernetes.io/unreachable  NoSchedule, NoExecute
//	MemoryPressure     True     node.kubernetes.io/memory-pressure  NoSchedule
//	(DiskPressure, PIDPressure and NetworkUnavailable likewise)
//	spec.unschedulable          node.kubernetes.io/unschedulable  NoSchedule
//
// It owns these taints and no others, and it evicts by any NoExecute taint,
// whoever wrote it. A pod that bears a taint for a time is evicted when that has
// passed since the taint was added (a field of the taint, so a new leader forgets
// nothing) or since the pod was created.
//
// Where no node is ready, or 55 % of more than two are not, nothing is evicted for
// not-ready or unreachable: then it is the manager that is cut off, or there is
// nowhere better to go (Kubernetes' zone disruption, with its numbers). Nodes that
// came back in the last 10 s count as away: they come one after the other.
//
// It is not for the condition itself (dispatch writes it) and not for choosing
// nodes (schedule).
//
// How to debug: testdata/*.txtar.
package node
