package own

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Claim is what a workload takes: pods that it selects.
type Claim struct {
	Owner metav1.OwnerReference
	// Selects reports whether a pod that is nobody's may be adopted.
	Selects func(*tables.PodHead) bool
	// Adopted and Released change what else the pod gets and loses. Nil: nothing.
	Adopted, Released func(*corev1.Pod)
}

// Adopt makes the pod at key the workload's, if it is nobody's, is not going away
// and is selected. It reports whether it wrote the pod.
func (c Claim) Adopt(tx *store.Tx, key object.Key) bool {
	row, ok := tables.Pods.Row(tx, key)
	if !ok || row.Head().Deleting || row.Head().Owner != "" || !c.Selects(row.Head()) {
		return false
	}
	next := row.Object().DeepCopy()
	next.OwnerReferences = append(next.OwnerReferences, c.Owner)
	if c.Adopted != nil {
		c.Adopted(next)
	}
	tables.Pods.Put(tx, next)
	return true
}

// Release makes the pod at key nobody's. It reports whether there is such a pod.
func (c Claim) Release(tx *store.Tx, key object.Key) bool {
	pod, ok := tables.Pods.Get(tx, key)
	if !ok {
		return false
	}
	next := pod.DeepCopy()
	next.OwnerReferences = slices.DeleteFunc(next.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == c.Owner.UID })
	if c.Released != nil {
		c.Released(next)
	}
	tables.Pods.Put(tx, next)
	return true
}
