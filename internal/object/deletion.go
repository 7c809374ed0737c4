package object

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Deletion is a request to delete an object, as every door and loop makes it.
type Deletion struct {
	Now time.Time
	// Policy says what becomes of the object's dependents; empty: what the
	// object's finalizers say, else background.
	Policy metav1.DeletionPropagation
	// GraceSeconds a pod gets to end; nil: what its spec says. Ignored for other
	// kinds.
	GraceSeconds *int64
	// Cause is told in a pod's condition DisruptionTarget; the zero value: nothing is.
	Cause Disruption
}

// Disruption is why a pod goes that its owner would have kept (Kubernetes,
// "Disruptions", pod disruption conditions).
type Disruption struct{ Reason, Message string }

// Mark does to o what the API does with a DELETE (Kubernetes, "Garbage
// Collection" and "Termination of Pods"). remove: nothing holds the object back,
// its row goes now. changed: o is marked and must be put. Neither: it was marked
// already. o must not be shared: hand in a copy.
//
//	            ┌─ finalizers, or a pod on a node ─► marked ─► the holder lets go ─┐
//	present ────┤                                                                  ├─► gone
//	            └─ nothing holds it ───────────────────────────────────────────────┘
func (d Deletion) Mark(o metav1.Object) (remove, changed bool) {
	changed = d.finalizers(o)
	if p, ok := o.(*corev1.Pod); ok && d.Cause != (Disruption{}) {
		changed = SetPodCondition(p, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: d.Cause.Reason, Message: d.Cause.Message,
			LastTransitionTime: metav1.NewTime(d.Now.Truncate(time.Second)), ObservedGeneration: p.Generation,
		}) || changed
	}
	if ns, ok := o.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		changed = ns.Status.Phase != corev1.NamespaceTerminating || changed
		ns.Status.Phase = corev1.NamespaceTerminating
		return false, d.stamp(o, 0) || changed
	}
	grace := d.Grace(o)
	if grace == 0 && len(o.GetFinalizers()) == 0 {
		return true, false
	}
	return false, d.stamp(o, grace) || changed
}

// finalizers makes o's finalizers say the policy.
func (d Deletion) finalizers(o metav1.Object) (changed bool) {
	if d.Policy == "" {
		return false
	}
	want := map[string]bool{
		metav1.FinalizerOrphanDependents: d.Policy == metav1.DeletePropagationOrphan,
		metav1.FinalizerDeleteDependents: d.Policy == metav1.DeletePropagationForeground,
	}
	for _, name := range []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents} {
		has := slices.Contains(o.GetFinalizers(), name)
		switch {
		case want[name] && !has:
			o.SetFinalizers(append(slices.Clone(o.GetFinalizers()), name))
			changed = true
		case !want[name] && has:
			o.SetFinalizers(Without(o.GetFinalizers(), name))
			changed = true
		}
	}
	return changed
}

// Without returns a new slice that lacks every element equal to drop; nil where
// nothing is left.
func Without[T comparable](list []T, drop T) []T {
	var out []T
	for _, e := range list {
		if e != drop {
			out = append(out, e)
		}
	}
	return out
}

// Grace returns how many seconds o is given to end: 0 for all but pods that may
// run on a node.
func (d Deletion) Grace(o metav1.Object) int64 {
	p, ok := o.(*corev1.Pod)
	if !ok || p.Spec.NodeName == "" || PodEnded(p) {
		return 0
	}
	g := int64(corev1.DefaultTerminationGracePeriodSeconds)
	switch {
	case d.GraceSeconds != nil:
		g = *d.GraceSeconds
	case p.Spec.TerminationGracePeriodSeconds != nil:
		g = *p.Spec.TerminationGracePeriodSeconds
	}
	if g < 0 {
		return 1 // as the API reads it (API reference, terminationGracePeriodSeconds)
	}
	return g
}

// stamp sets the deletion time, which may move nearer but never further away nor
// into the past: whoever ends o must see a grace of at least a second.
func (d Deletion) stamp(o metav1.Object, grace int64) (changed bool) {
	now := d.Now.Truncate(time.Second)
	until := now.Add(time.Duration(grace) * time.Second)
	if at := o.GetDeletionTimestamp(); at != nil {
		var had int64
		if g := o.GetDeletionGracePeriodSeconds(); g != nil {
			had = *g
		}
		if grace >= had {
			return false
		}
		until = at.Add(time.Duration(grace-had) * time.Second)
		if until.Before(now) {
			until, grace = now, min(grace, 1)
		}
	} else if o.GetGeneration() > 0 {
		o.SetGeneration(o.GetGeneration() + 1)
	}
	at := metav1.NewTime(until)
	o.SetDeletionTimestamp(&at)
	o.SetDeletionGracePeriodSeconds(&grace)
	return true
}

// Released reports whether o is marked as deleted and nothing holds it back any
// more: the row of such an object goes.
func Released(o metav1.Object) bool {
	if o.GetDeletionTimestamp() == nil || len(o.GetFinalizers()) > 0 {
		return false
	}
	if ns, ok := o.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		return false
	}
	g := o.GetDeletionGracePeriodSeconds()
	return g == nil || *g == 0
}
