package store_test

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"
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

// TestAlike checks that rows that share a part give back each its own object,
// from memory and from the log.
func TestAlike(t *testing.T) {
	s := open(t, store.Config{Log: &keepingLog{}})
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	pod := func(name, node string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: corev1.PodSpec{
				NodeName:   node,
				Containers: []corev1.Container{{Name: "c", Args: []string{strings.Repeat("an argument ", 100)}}},
			},
		}
	}
	want := map[string]*corev1.Pod{"a": pod("a", "n1"), "b": pod("b", "n2"), "c": pod("c", "")}
	want["c"].Spec.Containers[0].Args = nil // too small to share
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		for _, p := range want {
			tables.Pods.Put(tx, p.DeepCopy())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nothing is collected but where it says so
	for name := range want {
		row, _ := tables.Pods.Row(s.Snapshot(), object.Key{Namespace: "default", Name: name})
		if first := row.Object(); row.Object() != first {
			t.Errorf("%s is decoded again though nothing was collected", name)
		}
	}
	runtime.GC()
	for name, p := range want {
		row, _ := tables.Pods.Row(s.Snapshot(), object.Key{Namespace: "default", Name: name})
		raw := &corev1.Pod{}
		if err := raw.Unmarshal(row.Raw()); err != nil {
			t.Fatal(err)
		}
		for _, got := range []*corev1.Pod{row.Object(), raw} {
			if diff := cmp.Diff(p.Spec, got.Spec); diff != "" || got.Name != name {
				t.Errorf("%s: (-put +got):\n%s", name, diff)
			}
		}
	}
}

// keepingLog takes everything and has nothing.
type keepingLog struct{}

func (*keepingLog) Append(context.Context, []store.Entry) error { return nil }

func (*keepingLog) Load(context.Context) (*store.Contents, error) { return &store.Contents{}, nil }
