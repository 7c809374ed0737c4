// Package daemonset keeps one pod of each DaemonSet on every node that it fits
// (Kubernetes, "DaemonSet"), and renews them as its update strategy says.
//
// It is not for binding: a pod names its node in a required node affinity, and
// schedule binds it there, so that priorities and room count as for any pod. Nor
// for which pods are renewed now (rollout decides that) or what the revisions
// hold (history). It writes DaemonSets' status, their pods but for node and
// status, and their ControllerRevisions.
//
// # Where pods run
//
//	template, labels   taints                      a new pod   one that is there
//	fit                tolerated                   is made     stays
//	fit                NoSchedule not tolerated    is not      stays
//	fit                NoExecute not tolerated     is not      goes
//	do not             –                           is not      goes
//
// What the set says of nodes is its template's node name, node selector and
// required node affinity. Its pods tolerate what any daemon does: nodes.go.
//
// Between steps the loop keeps each set's pods by node and what they come to
// (crew.go), so that a tick costs the nodes that changed. Only while pods of an
// old revision are left does a step look at all of them.
//
// How to debug: testdata/*.txtar; `kubectl describe` shows a set's events.
package daemonset
