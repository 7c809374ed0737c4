package quota_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/orchestrate/quota"
	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestCustomObjects: objects of a kind that a definition made are counted as any
// other, by the loop and by the write that creates them.
func TestCustomObjects(t *testing.T) {
	w := looptest.New(t, tables.All())
	r := w.Runner(quota.New())
	w.Put("{apiVersion: v1, kind: ResourceQuota, metadata: {name: q, namespace: a}, spec: {hard: {count/widgets.example.com: '1'}}}")
	w.Settle(r)
	gr := schema.GroupResource{Group: "example.com", Resource: "widgets"}
	widget := func(name string) (*unstructured.Unstructured, object.Key) {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Widget"}}
		o.SetNamespace("a")
		o.SetName(name)
		return o, tables.CustomPlace{Group: gr.Group, Plural: gr.Resource, Key: object.KeyOf(o)}.CustomKey()
	}
	used := func() int64 {
		w.Settle(r)
		q, _ := tables.ResourceQuotas.Get(w.Store.Head(), object.Key{Namespace: "a", Name: "q"})
		n := q.Status.Used[corev1.ResourceName("count/"+gr.String())]
		return n.Value()
	}
	one, key := widget("one")
	w.Update(func(tx *store.Tx) {
		if err := policy.Charge(tx, gr, one, nil); err != nil {
			t.Error(err)
		}
		tables.CustomObjects.PutAt(tx, key, one)
	})
	if n := used(); n != 1 {
		t.Errorf("used is %d with one widget", n)
	}
	two, _ := widget("two")
	w.Update(func(tx *store.Tx) {
		if err := policy.Charge(tx, gr, two, nil); err == nil {
			t.Error("a second widget was allowed")
		}
	})
	w.Update(func(tx *store.Tx) { tables.CustomObjects.Delete(tx, key) })
	if n := used(); n != 0 {
		t.Errorf("used is %d with no widget", n)
	}
}
