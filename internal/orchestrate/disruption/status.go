package disruption

import (
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"trireme/internal/object"
	"trireme/internal/orchestrate/scale"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// evictionMax is how long a pod counts as evicted that has not been deleted yet (API
// reference, PodDisruptionBudgetStatus.disruptedPods).
const evictionMax = 2 * time.Minute

// reconcile writes the budget's status, if it differs from what stands, and returns
// when to look again.
func (l *Loop) reconcile(tx *store.Tx, b *budget) (again time.Time) {
	o, ok := tables.PodDisruptionBudgets.Get(tx, b.key)
	if !ok {
		return again
	}
	next := *o // shallow: only the status is replaced
	st := o.Status.DeepCopy()
	expected, desired, err := wants(tx, b, o)
	var healthy int32
	st.DisruptedPods, healthy, again = b.evicted(tx, o)
	st.ObservedGeneration = o.Generation
	if err != nil {
		st.DisruptionsAllowed = 0
		allowed(tx, st, metav1.Condition{Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason, Message: err.Error()})
	} else {
		st.CurrentHealthy, st.DesiredHealthy, st.ExpectedPods = healthy, desired, expected
		st.DisruptionsAllowed = 0
		if expected > 0 {
			st.DisruptionsAllowed = max(0, healthy-desired)
		}
		if st.DisruptionsAllowed > 0 {
			allowed(tx, st, metav1.Condition{Status: metav1.ConditionTrue, Reason: policyv1.SufficientPodsReason})
		} else {
			allowed(tx, st, metav1.Condition{Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason})
		}
	}
	if equality.Semantic.DeepEqual(*st, o.Status) {
		return again
	}
	next.Status = *st
	tables.PodDisruptionBudgets.Put(tx, &next)
	if err != nil {
		tell.About(tx, tables.PodDisruptionBudgets, o, tell.Event{From: "controllermanager", Type: corev1.EventTypeWarning, Reason: "CalculateExpectedPodCountFailed",
			Message: "Failed to calculate the number of expected pods: " + err.Error()})
	}
	return again
}

// allowed sets the condition DisruptionAllowed.
func allowed(tx *store.Tx, st *policyv1.PodDisruptionBudgetStatus, c metav1.Condition) {
	c.Type, c.ObservedGeneration = policyv1.DisruptionAllowedCondition, st.ObservedGeneration
	c.LastTransitionTime = metav1.NewTime(tx.Now().Truncate(time.Second))
	meta.SetStatusCondition(&st.Conditions, c)
}

// evicted returns the pods that were evicted and are still to be deleted, how many of
// the others are healthy, and when the first of them counts again.
func (b *budget) evicted(tx *store.Tx, o *policyv1.PodDisruptionBudget) (pods map[string]metav1.Time, healthy int32, again time.Time) {
	pods, healthy = maps.Clone(o.Status.DisruptedPods), b.healthy
	for name, since := range o.Status.DisruptedPods {
		key := object.Key{Namespace: b.key.Namespace, Name: name}
		row, ok := tables.Pods.Row(tx, key)
		_, known := b.pods[key]
		until := since.Add(evictionMax)
		if !ok || !known || row.Head().Deleting || !tx.Now().Before(until) {
			delete(pods, name)
			continue
		}
		if b.pods[key].healthy {
			healthy--
		}
		if again.IsZero() || until.Before(again) {
			again = until
		}
	}
	if len(pods) == 0 {
		pods = nil
	}
	return pods, healthy, again
}

// wants returns how many pods there should be, and how many of them healthy.
func wants(tx *store.Tx, b *budget, o *policyv1.PodDisruptionBudget) (expected, desired int32, err error) {
	lack, least := o.Spec.MaxUnavailable, o.Spec.MinAvailable
	switch {
	case lack != nil:
		if expected, err = b.scale(tx); err != nil {
			return 0, 0, err
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(lack, int(expected), true)
		if err != nil {
			return 0, 0, err
		}
		return expected, max(0, expected-int32(n)), nil
	case least == nil:
		return int32(len(b.pods)), 0, nil
	case least.Type == intstr.Int:
		return int32(len(b.pods)), least.IntVal, nil
	}
	if expected, err = b.scale(tx); err != nil {
		return 0, 0, err
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(least, int(expected), true)
	return expected, int32(n), err
}

// scale returns how many pods the owners of the budget's pods ask for together. Pods
// without an owner add nothing: nobody says how many there should be.
func (b *budget) scale(tx *store.Tx) (n int32, err error) {
	seen := map[types.UID]bool{}
	for _, o := range b.sortedOwners() {
		sc, err := scaleOf(tx, b.key.Namespace, o.ref)
		if err != nil {
			return 0, err
		}
		if !seen[sc.UID] {
			n += sc.Replicas
		}
		seen[sc.UID] = true
	}
	return n, nil
}

// scaleOf returns how many pods an owner asks for, and whose word that is: a
// ReplicaSet's is its Deployment's.
func scaleOf(tx *store.Tx, namespace string, ref metav1.OwnerReference) (*scale.Scale, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	gk, key := gv.WithKind(ref.Kind).GroupKind(), object.Key{Namespace: namespace, Name: ref.Name}
	sc, err := scale.Of(tx, gk, key)
	switch {
	case err != nil:
		return nil, err
	case sc == nil || sc.UID != ref.UID:
		return nil, fmt.Errorf("%s %q is not there", ref.Kind, ref.Name)
	case gk != tables.ReplicaSets.GVK().GroupKind():
		return sc, nil
	}
	set, _ := tables.ReplicaSets.Get(tx, key)
	up := metav1.GetControllerOfNoCopy(set)
	if up == nil || up.Kind != tables.Deployments.GVK().Kind {
		return sc, nil
	}
	if d, err := scaleOf(tx, namespace, *up); err == nil {
		return d, nil
	}
	return sc, nil
}
