package etcdlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/etcdlog"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// member runs a log in dir and a store on it until stop is called.
func member(t *testing.T, dir string) (s *store.Store, stop func()) {
	t.Helper()
	log, err := etcdlog.New(etcdlog.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	logDone, storeDone := make(chan error, 1), make(chan error, 1)
	go func() { logDone <- log.Run(ctx) }()
	select {
	case <-log.Ready():
	case err := <-logDone:
		t.Fatal(err)
	}
	s, err = store.Open(ctx, store.Config{
		Log: log.Leader(), Now: time.Now, NewID: newID,
	}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	go func() { storeDone <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-storeDone
			<-logDone
		}
	}
	t.Cleanup(stop)
	return s, stop
}

func newID() types.UID { return types.UID(uuid.NewString()) }

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"v": value},
	}
}

type seen struct {
	Rev   store.Rev
	Type  store.EventType
	Name  string
	Value string
}

func history(t *testing.T, s *store.Store, from store.Rev) []seen {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var got []seen
	last := s.Snapshot().Rev()
	for e, err := range s.Events(ctx, from, tables.ConfigMaps) {
		if err != nil {
			t.Fatalf("watching from %d: %v", from, err)
		}
		got = append(got, seen{e.Rev, e.Type(), e.Key().Name, e.Object().(*corev1.ConfigMap).Data["v"]})
		if e.Rev == last {
			break
		}
	}
	return got
}

// TestRestart writes, deletes and rewrites rows from many goroutines, restarts,
// and expects every row and the whole history to be what it was.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s, stop := member(t, dir)
	from := s.Snapshot().Rev()
	errs := make(chan error, 8)
	for w := range 8 {
		go func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range 100 {
				name := fmt.Sprintf("c-%d", rng.IntN(40))
				if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
					if rng.IntN(4) == 0 {
						tables.ConfigMaps.Delete(tx, object.Key{Namespace: "default", Name: name})
					} else {
						tables.ConfigMaps.Put(tx, configMap(name, fmt.Sprintf("%d/%d", w, i)))
					}
					return nil
				}); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	rows := func(s *store.Store) (all []*corev1.ConfigMap) {
		for c := range tables.ConfigMaps.All(s.Snapshot()) {
			all = append(all, c)
		}
		return all
	}
	wantRows, wantHistory, wantRev := rows(s), history(t, s, from), s.Snapshot().Rev()
	stop()
	s, stop = member(t, dir)
	defer stop()
	if got := s.Snapshot().Rev(); got != wantRev {
		t.Errorf("revision after the restart = %d, want %d", got, wantRev)
	}
	if diff := cmp.Diff(wantRows, rows(s)); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(wantHistory, history(t, s, from)); diff != "" {
		t.Errorf("history (-before +after):\n%s", diff)
	}
}

// TestFence checks that a writer that was replaced cannot commit any more.
func TestFence(t *testing.T) {
	log, err := etcdlog.New(etcdlog.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), UnsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	defer func() { cancel(); <-done }()
	<-log.Ready()
	old := log.Leader()
	if _, err := old.Load(ctx); err != nil {
		t.Fatal(err)
	}
	entry := func(rev store.Rev) []store.Entry {
		return []store.Entry{{Key: "/registry/configmaps/default/a", Value: []byte("{}"), Rev: rev}}
	}
	if err := old.Append(ctx, entry(5)); err != nil {
		t.Fatal(err)
	}
	young := log.Leader()
	c, err := young.Load(ctx)
	if err != nil || c.Rev != 5 {
		t.Fatalf("Load = %+v, %v; want revision 5", c, err)
	}
	if err := old.Append(ctx, entry(6)); !errors.Is(err, etcdlog.ErrFenced) {
		t.Errorf("the replaced writer's Append = %v, want ErrFenced", err)
	}
	if err := young.Append(ctx, entry(6)); err != nil {
		t.Errorf("the new writer's Append = %v", err)
	}
}
