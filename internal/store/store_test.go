package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func open(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	n := 0
	cfg.Now = func() time.Time { return start }
	cfg.NewID = func() types.UID { n++; return types.UID(fmt.Sprintf("%08d-0000-4000-8000-000000000000", n)) }
	s, err := store.Open(t.Context(), cfg, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Data:       map[string]string{"v": value},
	}
}

func put(t testing.TB, s *store.Store, name, value string) store.Rev {
	t.Helper()
	rev, err := s.Update(t.Context(), func(tx *store.Tx) error {
		tables.ConfigMaps.Put(tx, configMap(name, value))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func values(r store.Reader) map[string]string {
	m := map[string]string{}
	for c := range tables.ConfigMaps.All(r) {
		m[c.Name] = c.Data["v"] + "@" + c.ResourceVersion
	}
	return m
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	s := open(t, store.Config{})
	put(t, s, "a", "1")
	boom := errors.New("boom")
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		tables.ConfigMaps.Put(tx, configMap("a", "2"))
		tables.ConfigMaps.Put(tx, configMap("b", "1"))
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("err = %v, want boom", err)
	}
	if diff := cmp.Diff(map[string]string{"a": "1@1"}, values(s.Snapshot())); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// TestOnly: of a row that its readers do not see, a snapshot shows nothing, however it is
// asked.
func TestOnly(t *testing.T) {
	s := open(t, store.Config{})
	for _, name := range []string{"a", "b", "c"} {
		put(t, s, name, "1")
	}
	all := s.Snapshot()
	part := all.Only(func(group string, table store.TableID, key object.Key) bool {
		return group == "" && table == tables.ConfigMaps.ID() && key.Namespace == "default" && key.Name != "b"
	})
	if diff := cmp.Diff(map[string]string{"a": "1@1", "c": "1@3"}, values(part)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	hidden := object.Key{Namespace: "default", Name: "b"}
	if _, ok := tables.ConfigMaps.Get(part, hidden); ok {
		t.Error("Get shows what is not seen")
	}
	if _, ok := tables.ConfigMaps.Row(part, hidden); ok {
		t.Error("Row shows what is not seen")
	}
	if a, b := tables.ConfigMaps.Len(part), tables.ConfigMaps.CountFrom(part, "default/", "default/b"); a != 2 || b != 1 {
		t.Errorf("Len %d, CountFrom %d; want 2, 1", a, b)
	}
	if _, ok := tables.ConfigMaps.Get(all, hidden); !ok {
		t.Error("the whole snapshot lost a row")
	}
}

// TestCountFrom: it counts what RowsFrom yields, from every key of every namespace.
func TestCountFrom(t *testing.T) {
	s := open(t, store.Config{})
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		for i := range 500 {
			cm := configMap(fmt.Sprintf("c%03d", i*7%500), "x")
			cm.Namespace = []string{"a", "aa", "b"}[i%3]
			tables.ConfigMaps.Put(tx, cm)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	snap := s.Snapshot()
	for _, prefix := range []string{"", "a/", "aa/", "b/", "none/"} {
		for _, from := range []string{"", "a/", "a/c250", "aa/c1", "b/c499", "b/c499\x00", "zz"} {
			want := 0
			for range tables.ConfigMaps.RowsFrom(snap, prefix, from) {
				want++
			}
			if got := tables.ConfigMaps.CountFrom(snap, prefix, from); got != want {
				t.Errorf("below %q from %q: %d, want %d", prefix, from, got, want)
			}
		}
	}
}

func TestRevisionsAreUniqueAndOrdered(t *testing.T) {
	s := open(t, store.Config{})
	before := s.Snapshot()
	rev, err := s.Update(t.Context(), func(tx *store.Tx) error {
		for i := range 3 {
			tables.ConfigMaps.Put(tx, configMap(fmt.Sprint(i), "x"))
		}
		tables.ConfigMaps.Delete(tx, object.Key{Namespace: "default", Name: "1"})
		return nil
	})
	if err != nil || rev != 2 {
		t.Fatalf("Update = %d, %v; want 2: a row created and deleted in one transaction never was", rev, err)
	}
	want := map[string]string{"0": "x@1", "2": "x@2"}
	if diff := cmp.Diff(want, values(s.Snapshot())); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if n := tables.ConfigMaps.Len(before); n != 0 {
		t.Errorf("an old snapshot changed: %d rows", n)
	}
}

func TestIndexesFollowTheRow(t *testing.T) {
	s := open(t, store.Config{})
	pod := func(node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{NodeName: node}}
	}
	count := func(node string) (n int) {
		for range tables.Pods.By(s.Snapshot(), tables.PodsByNode, node) {
			n++
		}
		return n
	}
	for _, node := range []string{"", "n1", "n2"} {
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error { tables.Pods.Put(tx, pod(node)); return nil }); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"", "n1", "n2"} {
			want := 0
			if n == node {
				want = 1
			}
			if got := count(n); got != want {
				t.Errorf("on %q: By(node, %q) finds %d, want %d", node, n, got, want)
			}
		}
	}
}

func TestEventsWithoutGapOrRepeat(t *testing.T) {
	s := open(t, store.Config{})
	put(t, s, "a", "1")
	put(t, s, "a", "2")
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		tables.ConfigMaps.Delete(tx, object.Key{Namespace: "default", Name: "a"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "b", "1")
	for from := store.Rev(0); from < 4; from++ {
		next := from
		ctx, cancel := context.WithCancel(t.Context())
		for e, err := range s.Events(ctx, from, tables.ConfigMaps) {
			if err != nil {
				break
			}
			next++
			if e.Rev != next || e.Object().GetResourceVersion() != next.String() {
				t.Fatalf("from %d: event %d with object at %s, want %d", from, e.Rev, e.Object().GetResourceVersion(), next)
			}
			if next == 4 {
				cancel()
			}
		}
		cancel()
		if next != 4 {
			t.Errorf("from %d: stopped at %d", from, next)
		}
	}
}

func TestSlowWatcherIsTold(t *testing.T) {
	s := open(t, store.Config{HistoryEvents: 4})
	for i := range 20 {
		put(t, s, "a", fmt.Sprint(i))
	}
	for _, err := range s.Events(t.Context(), 1, tables.ConfigMaps) {
		if !kind.Is(err, kind.Gone) {
			t.Fatalf("err = %v, want Gone", err)
		}
		break
	}
}

// TestHistoryReachesTheCommitted checks that a reader of the committed snapshot finds
// what comes after it, when one transaction writes more than the history keeps.
func TestHistoryReachesTheCommitted(t *testing.T) {
	s := open(t, store.Config{HistoryEvents: 4, Log: &keepingLog{}})
	snap := s.Snapshot()
	if _, err := s.Tick(t.Context(), func(tick *store.Tick) error {
		_, err := tick.Step(store.StepSpec{Name: "many", Writes: []store.TableID{tables.ConfigMaps.ID()}}, func(tx *store.Tx) error {
			for i := range 100 {
				tables.ConfigMaps.Put(tx, configMap(fmt.Sprint(i), "1"))
			}
			return nil
		})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	seen := 0
	for _, err := range s.Events(ctx, snap.TableRev(tables.ConfigMaps), tables.ConfigMaps) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 100 {
			break
		}
	}
	cancel()
	<-done
	if seen != 100 {
		t.Errorf("%d events came, want 100", seen)
	}
}

// TestRemoved tells a name that has just become free from one that always was.
func TestRemoved(t *testing.T) {
	s := open(t, store.Config{})
	put(t, s, "a", "1")
	key := func(name string) object.Key { return object.Key{Namespace: "default", Name: name} }
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		tables.ConfigMaps.Put(tx, configMap("b", "1"))
		tables.ConfigMaps.Delete(tx, key("b"))
		for _, name := range []string{"a", "b", "c"} {
			if tables.ConfigMaps.Removed(tx, key(name)) {
				t.Errorf("%s is said to be removed", name)
			}
		}
		tables.ConfigMaps.Delete(tx, key("a"))
		if !tables.ConfigMaps.Removed(tx, key("a")) {
			t.Error("a was there when the transaction began and is gone, which is not said")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestPutBackPanics(t *testing.T) {
	s := open(t, store.Config{})
	put(t, s, "a", "1")
	defer func() {
		if recover() == nil {
			t.Error("putting a shared object back did not panic")
		}
	}()
	_, _ = s.Update(t.Context(), func(tx *store.Tx) error {
		c, _ := tables.ConfigMaps.Get(tx, object.Key{Namespace: "default", Name: "a"})
		tables.ConfigMaps.Put(tx, c)
		return nil
	})
}

// TestTickUndoesAFailedStep checks that a failing step leaves no trace and that
// the next step sees what earlier steps of the tick wrote.
func TestTickUndoesAFailedStep(t *testing.T) {
	s := open(t, store.Config{})
	put(t, s, "a", "1")
	writes := []store.TableID{tables.ConfigMaps.ID()}
	var seen []string
	_, err := s.Tick(t.Context(), func(tick *store.Tick) error {
		spec := store.StepSpec{Name: "one", Writes: writes}
		c1, err := tick.Step(spec, func(tx *store.Tx) error {
			tables.ConfigMaps.Put(tx, configMap("b", "1"))
			return nil
		})
		if err != nil {
			return err
		}
		_, err = tick.Step(store.StepSpec{Name: "two", Writes: writes}, func(tx *store.Tx) error {
			tables.ConfigMaps.Put(tx, configMap("a", "bad"))
			tables.ConfigMaps.Put(tx, configMap("b", "bad"))
			tables.ConfigMaps.Put(tx, configMap("c", "bad"))
			tables.ConfigMaps.Delete(tx, object.Key{Namespace: "default", Name: "a"})
			return errors.New("boom")
		})
		if err == nil {
			t.Error("the step's error was lost")
		}
		spec.Since = c1
		_, err = tick.Step(spec, func(tx *store.Tx) error {
			for k := range tables.ConfigMaps.Changed(tx) {
				seen = append(seen, k.Name)
			}
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b"}, seen); diff != "" {
		t.Errorf("changed keys (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "1@1", "b": "1@2"}, values(s.Snapshot())); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func BenchmarkUpdatePod(b *testing.B) {
	s := open(b, store.Config{})
	ctx := context.Background()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _ = s.Update(ctx, func(tx *store.Tx) error {
			tables.Pods.Put(tx, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("p-%d", i%100000)},
				Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
			})
			return nil
		})
	}
}
