// Package statefulset keeps the pods of StatefulSets (Kubernetes, "StatefulSets"):
// one for each ordinal, with a name, claims and labels of its own, made and ended
// in order unless the set says Parallel, and renewed as its update strategy says.
//
// It is not for which pods are renewed now (rollout decides that), not for what
// the revisions hold (history) and not for binding claims to volumes. It writes
// StatefulSets' status, their pods but for node and status, the claims it makes
// and the owners of those, and their ControllerRevisions.
//
// # One step
//
//	claim     adopt pods that bear the name of an ordinal, release what is not selected
//	history   the revision of the present template
//	fill      lowest ordinal first: an ended pod goes, a missing one is made; in order,
//	          the first that is not available stops the step here
//	shrink    highest ordinal first: pods beyond the range go
//	renew     highest ordinal first: pods of an old revision go, to be made anew
//	status    counts, revisions
//
// A broken rollout of a set that goes in order stops at the pod that does not get
// ready: as Kubernetes documents under "Forced rollback", that pod must be deleted
// by hand after the template is put right.
//
// How to debug: testdata/*.txtar; `kubectl describe` shows a set's events.
package statefulset
