package gang

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// Reasons of the condition PodGroupInitiallyScheduled, beside Kubernetes' own.
const (
	ReasonScheduled = "Scheduled"
	ReasonTimedOut  = "TimedOut"
)

// Said returns the row with what is to be said of the group: why its pods are not placed, or, where that is empty, that
// the least of them are. nil: the row says so. A group that was placed once remains so (API reference, PodGroupStatus).
func (g *Group) Said(row *schedulingv1alpha3.PodGroup, why string, now time.Time) *schedulingv1alpha3.PodGroup {
	old := meta.FindStatusCondition(row.Status.Conditions, schedulingv1alpha3.PodGroupInitiallyScheduled)
	if old != nil && old.Status == metav1.ConditionTrue {
		return nil
	}
	c := metav1.Condition{
		Type: schedulingv1alpha3.PodGroupInitiallyScheduled, Status: metav1.ConditionFalse, Reason: schedulingv1alpha3.PodGroupReasonUnschedulable,
		Message: why, ObservedGeneration: row.Generation, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	}
	switch {
	case why == "":
		c.Status, c.Reason = metav1.ConditionTrue, ReasonScheduled
	case g.late:
		c.Reason, c.Message = ReasonTimedOut, "not placed in time: "+why
	}
	next := *row
	next.Status.Conditions = slices.Clone(row.Status.Conditions)
	if !meta.SetStatusCondition(&next.Status.Conditions, c) {
		return nil
	}
	return &next
}

// TimedOut reports whether the row says already that the group was not placed in time.
func TimedOut(row *schedulingv1alpha3.PodGroup) bool {
	c := meta.FindStatusCondition(row.Status.Conditions, schedulingv1alpha3.PodGroupInitiallyScheduled)
	return c != nil && c.Reason == ReasonTimedOut
}

// Say writes into the group's row why its pods wait; empty: those who go together are placed.
func (g *Group) Say(tx *store.Tx, why string) {
	row, ok := tables.PodGroups.Get(tx, g.Key)
	if !ok {
		return
	}
	next := g.Said(row, why, tx.Now())
	if next == nil {
		return
	}
	tables.PodGroups.Put(tx, next)
	if why == "" {
		tell.About(tx, tables.PodGroups, next, event(corev1.EventTypeNormal, ReasonScheduled, "the pods that go together have nodes"))
	}
}

// TellLate tells of the group that it was not placed in time.
func (g *Group) TellLate(tx *store.Tx) {
	if row, ok := tables.PodGroups.Get(tx, g.Key); ok && !TimedOut(row) {
		after := row.Annotations[object.GangTimeoutAnnotation]
		tell.About(tx, tables.PodGroups, row, event(corev1.EventTypeWarning, ReasonTimedOut, "not placed within "+after+"; its pods wait on"))
	}
}

func event(kind, reason, message string) tell.Event {
	return tell.Event{From: corev1.DefaultSchedulerName, Type: kind, Reason: reason, Message: message}
}
