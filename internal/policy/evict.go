package policy

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Eviction asks for a pod to go, if its disruption budget can bear it.
type Eviction struct {
	Pod             object.Key
	UID             string // empty: any pod of that name
	ResourceVersion string // empty: any state of it
	Policy          metav1.DeletionPropagation
	GraceSeconds    *int64
	Cause           object.Disruption // the zero value: somebody asked for it
}

// Guarded is the error of an eviction that a disruption budget refuses for now.
type Guarded struct {
	Budget     string
	Why        string
	Processing bool // its status is not of its spec yet: to ask again soon helps
}

func (g *Guarded) Error() string {
	return "Cannot evict pod as it would violate the pod's disruption budget."
}

// disruptedMax bounds status.disruptedPods.
const disruptedMax = 2000

// Evict deletes the pod and takes one disruption from its budget, in the caller's
// transaction: two evictions never use the same allowance (Kubernetes, "API-initiated
// Eviction"). It fails with a *Guarded where the budget refuses, with kind.NotFound,
// kind.Conflict or kind.Denied else.
func Evict(tx *store.Tx, e Eviction) error {
	pod, ok := tables.Pods.Get(tx, e.Pod)
	switch {
	case !ok || object.UnderReview(pod):
		return kind.New(kind.NotFound, "pods %q not found", e.Pod.Name)
	case e.UID != "" && e.UID != string(pod.UID):
		return kind.New(kind.Conflict, "Precondition failed: UID in precondition: %s, UID in object meta: %s", e.UID, pod.UID)
	case e.ResourceVersion != "" && e.ResourceVersion != pod.ResourceVersion:
		return kind.New(kind.Conflict, "Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s", e.ResourceVersion, pod.ResourceVersion)
	}
	if err := Disrupt(tx, pod); err != nil {
		return err
	}
	next, cause := pod.DeepCopy(), e.Cause
	if cause == (object.Disruption{}) {
		cause = object.Disruption{Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting"}
	}
	remove, _ := object.Deletion{Now: tx.Now(), Policy: e.Policy, GraceSeconds: e.GraceSeconds, Cause: cause}.Mark(next)
	if remove {
		tables.Pods.Delete(tx, e.Pod)
	} else {
		tables.Pods.Put(tx, next)
	}
	return nil
}

// harmless reports whether no budget counts the pod: it has ended, has not begun, or is
// to go anyway.
func harmless(pod *corev1.Pod) bool {
	return object.PodEnded(pod) || pod.Status.Phase == corev1.PodPending || pod.DeletionTimestamp != nil
}

// Disrupt takes one disruption from the pod's budget, in the transaction that ends the pod or has
// it end. A pod without one needs none. It fails as Evict does.
func Disrupt(tx *store.Tx, pod *corev1.Pod) error {
	if harmless(pod) {
		return nil
	}
	b, err := budgetOf(tx, pod)
	if b == nil || err != nil {
		return err
	}
	st := &b.Status
	if !object.PodReady(pod) && unhealthyMayGo(b) {
		return nil
	}
	switch {
	case st.ObservedGeneration < b.Generation:
		return &Guarded{b.Name, fmt.Sprintf("The disruption budget %s is still being processed by the server.", b.Name), true}
	case st.DisruptionsAllowed < 0:
		return kind.New(kind.Denied, "pdb disruptions allowed is negative")
	case len(st.DisruptedPods) > disruptedMax:
		return kind.New(kind.Denied, "DisruptedPods map too big - too many evictions not confirmed by PDB controller")
	case st.DisruptionsAllowed == 0:
		return &Guarded{b.Name, fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, st.DesiredHealthy, st.CurrentHealthy), false}
	}
	next := b.DeepCopy()
	next.Status.DisruptionsAllowed--
	if next.Status.DisruptionsAllowed == 0 {
		meta.SetStatusCondition(&next.Status.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
			ObservedGeneration: st.ObservedGeneration, LastTransitionTime: metav1.NewTime(tx.Now()),
		})
	}
	if next.Status.DisruptedPods == nil {
		next.Status.DisruptedPods = map[string]metav1.Time{}
	}
	next.Status.DisruptedPods[pod.Name] = metav1.NewTime(tx.Now())
	tables.PodDisruptionBudgets.Put(tx, next)
	return nil
}

// unhealthyMayGo reports whether a pod that is not ready may go without being counted
// (API reference, unhealthyPodEvictionPolicy).
func unhealthyMayGo(b *policyv1.PodDisruptionBudget) bool {
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.ObservedGeneration >= b.Generation && b.Status.DesiredHealthy > 0 && b.Status.CurrentHealthy >= b.Status.DesiredHealthy
}

// budgetOf returns the budget that selects the pod, nil where none does.
func budgetOf(tx *store.Tx, pod *corev1.Pod) (found *policyv1.PodDisruptionBudget, err error) {
	for b := range tables.PodDisruptionBudgets.In(tx, pod.Namespace) {
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || b.Spec.Selector == nil || !sel.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if found != nil {
			return nil, kind.New(kind.Internal, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
		}
		found = b
	}
	return found, nil
}
