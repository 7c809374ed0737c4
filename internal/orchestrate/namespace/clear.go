package namespace

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// clear deletes what is in the namespace, pods first, and lets the namespace go
// when it is empty. It writes no more than budget objects and returns how many.
func (l *Loop) clear(tx *store.Tx, name string, budget int) (wrote int) {
	wrote, pods := empty(tx, tables.Pods.Any(), name, budget)
	left := map[string]int{}
	if pods > 0 {
		left["pods"] = pods
	}
	for _, t := range l.inside {
		if pods > 0 || t.ID() == tables.Pods.ID() {
			continue
		}
		n, rest := empty(tx, t, name, budget-wrote)
		wrote += n
		if rest > 0 {
			left[resource(t)] = rest
		}
	}
	if pods == 0 {
		wrote += emptyCustom(tx, name, budget-wrote, left)
	}
	if wrote >= budget {
		return wrote
	}
	l.conclude(tx, name, left)
	return wrote
}

// empty deletes the namespace's objects of one table and returns how many it
// wrote and how many are still there.
func empty(tx *store.Tx, t *store.Table[store.Object, any], ns string, budget int) (wrote, left int) {
	var keys []object.Key
	for row := range t.Rows(tx, ns) {
		if reap.Deleting(row) {
			left++
		} else {
			keys = append(keys, row.Key())
		}
	}
	for _, key := range keys {
		if wrote < budget && reap.Delete(tx, t, key, metav1.DeletePropagationBackground) {
			wrote++
		}
		if _, still := t.Row(tx, key); still {
			left++
		}
	}
	return wrote, left
}

// emptyCustom is empty for the objects of custom kinds; it adds those that are
// still there to left.
func emptyCustom(tx *store.Tx, ns string, budget int, left map[string]int) (wrote int) {
	var keys []object.Key
	for row := range tables.CustomObjects.By(tx, tables.CustomByNamespace, ns) {
		keys = append(keys, row.Key())
	}
	for _, key := range keys {
		if wrote < budget && reap.Delete(tx, tables.CustomObjects, key, metav1.DeletePropagationBackground) {
			wrote++
		}
		if _, still := tables.CustomObjects.Row(tx, key); still {
			p := tables.ParseCustomKey(key)
			left[p.Plural+"."+p.Group]++
		}
	}
	return wrote
}

func resource(t *store.Table[store.Object, any]) string {
	if g := t.GVK().Group; g != "" {
		return string(t.ID()) + "." + g
	}
	return string(t.ID())
}

// conclude tells in the namespace what is left, or lets it go.
func (l *Loop) conclude(tx *store.Tx, name string, left map[string]int) {
	ns, ok := tables.Namespaces.Get(tx, object.Key{Name: name})
	if !ok {
		return
	}
	next := ns.DeepCopy()
	next.Status.Phase = corev1.NamespaceTerminating
	if len(left) == 0 {
		next.Spec.Finalizers = object.Without(next.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
	if len(next.Spec.Finalizers) == 0 && len(next.Finalizers) == 0 {
		var events []object.Key
		for row := range tables.Events.Rows(tx, name) {
			events = append(events, row.Key())
		}
		for _, key := range events {
			tables.Events.Delete(tx, key)
		}
		tables.Namespaces.Delete(tx, object.KeyOf(ns))
		return
	}
	setConditions(next, tx.Now(), left)
	if !equality.Semantic.DeepEqual(ns, next) {
		tables.Namespaces.Put(tx, next)
	}
}

// setConditions tells how the deletion stands, in Kubernetes' words.
func setConditions(ns *corev1.Namespace, now time.Time, left map[string]int) {
	remaining := corev1.NamespaceCondition{
		Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionFalse, Reason: "ContentRemoved",
		Message: "All content successfully removed",
	}
	if len(left) > 0 {
		var parts []string
		for r, n := range left {
			parts = append(parts, fmt.Sprintf("%s has %d resource instances", r, n))
		}
		slices.Sort(parts)
		remaining.Status, remaining.Reason = corev1.ConditionTrue, "SomeResourcesRemain"
		remaining.Message = "Some resources are remaining: " + strings.Join(parts, ", ")
	}
	for _, c := range []corev1.NamespaceCondition{
		{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse, Reason: "ResourcesDiscovered", Message: "All resources successfully discovered"},
		{Type: corev1.NamespaceDeletionGVParsingFailure, Status: corev1.ConditionFalse, Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"},
		{Type: corev1.NamespaceDeletionContentFailure, Status: corev1.ConditionFalse, Reason: "ContentDeleted", Message: "All content successfully deleted, may be waiting on finalization"},
		remaining,
		{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionFalse, Reason: "ContentHasNoFinalizers", Message: "All content-preserving finalizers finished"},
	} {
		c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		setCondition(ns, c)
	}
}

func setCondition(ns *corev1.Namespace, c corev1.NamespaceCondition) {
	for i := range ns.Status.Conditions {
		have := &ns.Status.Conditions[i]
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		*have = c
		return
	}
	ns.Status.Conditions = append(ns.Status.Conditions, c)
}
