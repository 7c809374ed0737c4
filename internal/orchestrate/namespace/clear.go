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

// remains is what is left in a namespace.
type remains struct {
	resources  map[string]int // objects of each resource
	finalizers map[string]int // objects that have each
}

// lookMax is up to how many objects of one resource are read for their finalizers: that
// many leave by themselves for now, or it is told when fewer are left.
const lookMax = 100

// add takes in the objects of a resource that are left.
func (m *remains) add(tx *store.Tx, t *store.Table[store.Object, any], resource string, keys []object.Key) {
	if len(keys) == 0 {
		return
	}
	m.resources[resource] += len(keys)
	if len(keys) > lookMax {
		return
	}
	for _, key := range keys {
		if o, ok := t.Get(tx, key); ok {
			for _, f := range o.GetFinalizers() {
				m.finalizers[f]++
			}
		}
	}
}

// clear deletes what is in the namespace, pods first, and lets the namespace go
// when it is empty. It writes no more than budget objects and returns how many.
func (l *Loop) clear(tx *store.Tx, name string, budget int) (wrote int) {
	left := &remains{map[string]int{}, map[string]int{}}
	wrote, pods := empty(tx, tables.Pods.Any(), name, budget)
	left.add(tx, tables.Pods.Any(), "pods", pods)
	for _, t := range l.inside {
		if len(pods) > 0 || t.ID() == tables.Pods.ID() {
			continue
		}
		n, rest := empty(tx, t, name, budget-wrote)
		wrote += n
		left.add(tx, t, resource(t), rest)
	}
	if len(pods) == 0 {
		wrote += emptyCustom(tx, name, budget-wrote, left)
	}
	if wrote >= budget {
		return wrote
	}
	l.conclude(tx, name, left)
	return wrote
}

// empty deletes the namespace's objects of one table and returns how many it
// wrote and which are still there.
func empty(tx *store.Tx, t *store.Table[store.Object, any], ns string, budget int) (wrote int, left []object.Key) {
	var keys []object.Key
	for row := range t.Rows(tx, ns) {
		if reap.Deleting(row) {
			left = append(left, row.Key())
		} else {
			keys = append(keys, row.Key())
		}
	}
	for _, key := range keys {
		if wrote < budget && reap.Delete(tx, t, key, metav1.DeletePropagationBackground) {
			wrote++
		}
		if _, still := t.Row(tx, key); still {
			left = append(left, key)
		}
	}
	return wrote, left
}

// emptyCustom is empty for the objects of custom kinds; it adds those that are
// still there to left.
func emptyCustom(tx *store.Tx, ns string, budget int, left *remains) (wrote int) {
	var keys []object.Key
	for row := range tables.CustomObjects.By(tx, tables.CustomByNamespace, ns) {
		keys = append(keys, row.Key())
	}
	still := map[string][]object.Key{}
	for _, key := range keys {
		if wrote < budget && reap.Delete(tx, tables.CustomObjects, key, metav1.DeletePropagationBackground) {
			wrote++
		}
		if _, ok := tables.CustomObjects.Row(tx, key); ok {
			p := tables.ParseCustomKey(key)
			still[p.Plural+"."+p.Group] = append(still[p.Plural+"."+p.Group], key)
		}
	}
	for resource, keys := range still {
		left.add(tx, tables.CustomObjects.Any(), resource, keys)
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
func (l *Loop) conclude(tx *store.Tx, name string, left *remains) {
	ns, ok := tables.Namespaces.Get(tx, object.Key{Name: name})
	if !ok {
		return
	}
	next := ns.DeepCopy()
	next.Status.Phase = corev1.NamespaceTerminating
	if len(left.resources) == 0 {
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
func setConditions(ns *corev1.Namespace, now time.Time, left *remains) {
	remaining := corev1.NamespaceCondition{
		Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionFalse, Reason: "ContentRemoved",
		Message: "All content successfully removed",
	}
	if parts := list(left.resources, "%s has %d resource instances"); parts != "" {
		remaining.Status, remaining.Reason = corev1.ConditionTrue, "SomeResourcesRemain"
		remaining.Message = "Some resources are remaining: " + parts
	}
	held := corev1.NamespaceCondition{
		Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionFalse, Reason: "ContentHasNoFinalizers",
		Message: "All content-preserving finalizers finished",
	}
	if parts := list(left.finalizers, "%s in %d resource instances"); parts != "" {
		held.Status, held.Reason = corev1.ConditionTrue, "SomeFinalizersRemain"
		held.Message = "Some content in the namespace has finalizers remaining: " + parts
	}
	for _, c := range []corev1.NamespaceCondition{
		{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse, Reason: "ResourcesDiscovered", Message: "All resources successfully discovered"},
		{Type: corev1.NamespaceDeletionGVParsingFailure, Status: corev1.ConditionFalse, Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"},
		{Type: corev1.NamespaceDeletionContentFailure, Status: corev1.ConditionFalse, Reason: "ContentDeleted", Message: "All content successfully deleted, may be waiting on finalization"},
		remaining, held,
	} {
		c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		setCondition(ns, c)
	}
}

// list writes counts in order, each in that form.
func list(counts map[string]int, form string) string {
	var parts []string
	for name, n := range counts {
		parts = append(parts, fmt.Sprintf(form, name, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
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
