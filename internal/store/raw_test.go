package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestRaw checks that a row's encoding is the object itself, without the envelope
// of the log, and with its revision.
func TestRaw(t *testing.T) {
	s := open(t, store.Config{})
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		tables.ConfigMaps.Put(tx, configMap("a", "1"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	row, ok := tables.ConfigMaps.Row(s.Snapshot(), object.Key{Namespace: "default", Name: "a"})
	if !ok {
		t.Fatal("no row")
	}
	got := &corev1.ConfigMap{}
	if err := got.Unmarshal(row.Raw()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(row.Object(), got, cmp.Comparer(func(a, b metav1.Time) bool { return a.Equal(&b) })); diff != "" {
		t.Errorf("(-object +encoding):\n%s", diff)
	}
	if got.ResourceVersion != row.Rev().String() {
		t.Errorf("the encoding says revision %q, the row %v", got.ResourceVersion, row.Rev())
	}
}

// TestOldHead checks that an event tells a row's head before and after a pod was
// replaced under its name in one transaction.
func TestOldHead(t *testing.T) {
	s := open(t, store.Config{})
	pod := func(node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Spec: corev1.PodSpec{NodeName: node}}
	}
	put := func(f func(*store.Tx)) {
		t.Helper()
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	put(func(tx *store.Tx) { tables.Pods.Put(tx, pod("n1")) })
	put(func(tx *store.Tx) {
		tables.Pods.Delete(tx, object.Key{Namespace: "default", Name: "a"})
		tables.Pods.Put(tx, pod("n2"))
	})
	var got []string
	for e, err := range s.Events(t.Context(), 0, tables.Pods) {
		if err != nil {
			t.Fatal(err)
		}
		before := "none"
		if h, ok := e.OldHead().(*tables.PodHead); ok {
			before = h.Node
		}
		got = append(got, before+" "+e.Head().(*tables.PodHead).Node)
		if len(got) == 2 {
			break
		}
	}
	if diff := cmp.Diff([]string{"none n1", "n1 n2"}, got); diff != "" {
		t.Errorf("heads (-want +got):\n%s", diff)
	}
}
