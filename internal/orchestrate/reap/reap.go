package reap

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Delete deletes the object at key as the API would: its row goes, or it is
// marked and waits for whoever holds it. It reports whether it wrote anything;
// an object that is marked already, or is not there, is left alone.
func Delete[T store.Object, H any](tx *store.Tx, table *store.Table[T, H], key object.Key, policy metav1.DeletionPropagation) bool {
	return with(tx, table, key, object.Deletion{Now: tx.Now(), Policy: policy})
}

// Disrupt deletes a pod that its owner would have kept, and tells it why.
func Disrupt(tx *store.Tx, key object.Key, cause object.Disruption) bool {
	if row, ok := tables.Pods.Row(tx, key); !ok || row.Head().Deleting {
		return false
	}
	return with(tx, tables.Pods, key, object.Deletion{Now: tx.Now(), Policy: metav1.DeletePropagationBackground, Cause: cause})
}

func with[T store.Object, H any](tx *store.Tx, table *store.Table[T, H], key object.Key, d object.Deletion) bool {
	o, ok := table.Get(tx, key)
	if !ok {
		return false
	}
	next := o.DeepCopyObject().(T)
	remove, changed := d.Mark(next)
	switch {
	case remove:
		table.Delete(tx, key)
	case changed:
		table.PutAt(tx, key, next)
	}
	return remove || changed
}

// Terminating reports whether nothing new may be made in the namespace: it is
// going away, or is not there.
func Terminating(r store.Reader, namespace string) bool {
	ns, ok := tables.Namespaces.Get(r, object.Key{Name: namespace})
	return !ok || ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating
}

// Deleting reports whether the row is marked as deleted, without decoding pods
// and custom objects.
func Deleting(row store.Row[store.Object, any]) bool {
	switch h := row.Head().(type) {
	case *tables.PodHead:
		return h.Deleting
	case *tables.CustomHead:
		return h.Deleting
	}
	return row.Object().GetDeletionTimestamp() != nil
}
