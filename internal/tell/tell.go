package tell

import (
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Event is something that happened to an object.
type Event struct {
	From    string // the loop, as Kubernetes names its controllers
	Type    string // corev1.EventTypeNormal or EventTypeWarning
	Reason  string // one word for programs
	Message string // one sentence for people
}

// About writes the event about o, a row of table. An event that says the same of
// the same object as an earlier one adds to its count.
func About[T store.Object, H any](tx *store.Tx, table *store.Table[T, H], o T, e Event) {
	now := metav1.NewTime(tx.Now().Truncate(time.Second))
	key, gvk := keyOf(o, e), table.GVK()
	if gvk.Empty() { // a custom object names its own kind
		gvk = o.GetObjectKind().GroupVersionKind()
	}
	next := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind,
			Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(),
		},
		Type: e.Type, Reason: e.Reason, Message: e.Message, FirstTimestamp: now,
		Source: corev1.EventSource{Component: e.From}, ReportingController: e.From,
	}
	if old, ok := tables.Events.Get(tx, key); ok {
		next = old.DeepCopy()
	}
	next.Count++
	next.LastTimestamp = now
	tables.Events.Put(tx, next)
}

// Once is About for what stands until it is remedied: it says it again only when
// the event of the last time is forgotten.
func Once[T store.Object, H any](tx *store.Tx, table *store.Table[T, H], o T, e Event) {
	if _, ok := tables.Events.Row(tx, keyOf(o, e)); !ok {
		About(tx, table, o, e)
	}
}

func keyOf(o metav1.Object, e Event) object.Key {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s|%s|%s|%s|%s", o.GetUID(), e.From, e.Type, e.Reason, e.Message)
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return object.Key{Namespace: namespace, Name: fmt.Sprintf("%s.%016x", o.GetName(), h.Sum64())}
}
