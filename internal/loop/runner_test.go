package loop_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// fake is a loop whose step is a function.
type fake struct {
	name  string
	reads store.TableID
	step  func(tx *store.Tx) (time.Time, error)
	steps atomic.Int64
}

func (f *fake) Name() string            { return f.name }
func (f *fake) Reads() []store.TableID  { return []store.TableID{f.reads} }
func (f *fake) Writes() []store.TableID { return []store.TableID{tables.ConfigMaps.ID()} }

func (f *fake) Reconcile(tx *store.Tx) (time.Time, error) {
	f.steps.Add(1)
	return f.step(tx)
}

func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{
		Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) },
	}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(tx *store.Tx, name string) {
	tables.ConfigMaps.Put(tx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
}

func has(s *store.Store, name string) bool {
	_, ok := tables.ConfigMaps.Row(s.Head(), object.Key{Namespace: "default", Name: name})
	return ok
}

// TestFailingLoopIsUndoneAndLeftAlone: what a step that fails or panics wrote is
// gone, the others' writes stay, and it is tried again later and later.
func TestFailingLoopIsUndoneAndLeftAlone(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("no") },
		"panic": func() error { panic("no") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t)
				var broken atomic.Bool
				broken.Store(true)
				bad := &fake{name: "bad", reads: tables.Nodes.ID(), step: func(tx *store.Tx) (time.Time, error) {
					put(tx, "bad")
					if broken.Load() {
						return time.Time{}, fail()
					}
					return time.Time{}, nil
				}}
				good := &fake{name: "good", reads: tables.Nodes.ID(), step: func(tx *store.Tx) (time.Time, error) {
					if tx.FullPass() {
						put(tx, "good")
					}
					return time.Time{}, nil
				}}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				r := loop.New(s, loop.Config{}, bad, good)
				go func() { done <- r.Run(ctx) }()
				synctest.Wait()
				if has(s, "bad") || !has(s, "good") {
					t.Errorf("bad wrote %v, good wrote %v; want only good", has(s, "bad"), has(s, "good"))
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if bad.steps.Load() < 3 || bad.steps.Load() > 5 { // after 0, 100, 300, 700 ms
					t.Errorf("a failing loop was stepped %d times in a second", bad.steps.Load())
				}
				if st := r.Stats()[0]; st.Errors != bad.steps.Load() || st.Err == "" {
					t.Errorf("stats say %+v after %d failures", st, bad.steps.Load())
				}
				broken.Store(false)
				time.Sleep(time.Minute)
				synctest.Wait()
				if !has(s, "bad") || r.Stats()[0].Err != "" {
					t.Error("the loop did not come back")
				}
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

// TestTimers: a loop is stepped at the time that it named, and not before.
func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		start := time.Now()
		var at []time.Duration
		l := &fake{name: "timer", reads: tables.Nodes.ID(), step: func(tx *store.Tx) (time.Time, error) {
			at = append(at, tx.Now().Sub(start))
			if len(at) > 2 {
				return time.Time{}, nil
			}
			return tx.Now().Add(90 * time.Second), nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- loop.New(s, loop.Config{Resync: time.Hour}, l).Run(ctx) }()
		time.Sleep(10 * time.Minute)
		cancel()
		<-done
		if len(at) != 3 || at[1] != 90*time.Second || at[2] != 180*time.Second {
			t.Errorf("stepped after %v, want 0, 90 s, 180 s", at)
		}
	})
}

// TestLoopsFeedEachOther: what one loop writes another sees in the same tick.
func TestLoopsFeedEachOther(t *testing.T) {
	s := open(t)
	second := &fake{name: "second", reads: tables.ConfigMaps.ID(), step: func(tx *store.Tx) (time.Time, error) {
		for key := range tables.ConfigMaps.Changed(tx) {
			if key.Name == "one" && !tx.FullPass() {
				put(tx, "two")
			}
		}
		return time.Time{}, nil
	}}
	first := &fake{name: "first", reads: tables.Nodes.ID(), step: func(tx *store.Tx) (time.Time, error) {
		if tx.FullPass() {
			put(tx, "one")
		}
		return time.Time{}, nil
	}}
	r := loop.New(s, loop.Config{}, second, first) // against the flow: it takes a second round
	if _, _, err := r.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !has(s, "two") {
		t.Error("the second loop did not see the first one's row in the same tick")
	}
}

// TestARoundIsWholeInItsTick: what a loop makes as much of as it may, two others complete
// before the tick ends, though they all write as much; then it ends, for others' sake.
func TestARoundIsWholeInItsTick(t *testing.T) {
	s := open(t)
	var made int
	first := &fake{name: "first", reads: tables.ConfigMaps.ID(), step: func(tx *store.Tx) (time.Time, error) {
		for range min(loop.StepWritesMax, 5*loop.StepWritesMax/2-made) {
			put(tx, fmt.Sprint(made))
			made++
		}
		return time.Time{}, nil
	}}
	finish := func(mark string) *fake {
		done := 0
		return &fake{name: mark, reads: tables.ConfigMaps.ID(), step: func(tx *store.Tx) (time.Time, error) {
			for ; done < made; done++ {
				tables.ConfigMaps.Put(tx, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint(done)}, Data: map[string]string{"by": mark},
				})
			}
			return time.Time{}, nil
		}}
	}
	r := loop.New(s, loop.Config{}, first, finish("second"), finish("third"))
	for _, want := range []struct {
		rows  int
		again bool
	}{{loop.StepWritesMax, true}, {2 * loop.StepWritesMax, true}, {5 * loop.StepWritesMax / 2, false}} {
		again, _, err := r.Tick(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		for m := range tables.ConfigMaps.All(s.Snapshot()) {
			if rows++; m.Data["by"] != "third" {
				t.Fatalf("%s was committed as %q left it", m.Name, m.Data["by"])
			}
		}
		if rows != want.rows || again != want.again {
			t.Errorf("%d rows, again: %t; want %d, %t", rows, again, want.rows, want.again)
		}
	}
}
