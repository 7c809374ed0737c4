package mesos

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestWriterDropsWhatFails: of calls that fail, or panic, nothing is written; all others of their
// batch are, in order, and the writer goes on.
func TestWriterDropsWhatFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := store.Open(ctx, store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	w := newWriter(s, slog.New(slog.NewTextHandler(&said, nil)))
	accept := func(name string, then func() error) change {
		return func(tx *store.Tx) error {
			a := &mesos.Accept{}
			a.Namespace, a.Name = "f", name
			tables.MesosAccepts.Put(tx, a)
			return then()
		}
	}
	fine := func() error { return nil }
	for _, c := range []change{ // they are all there before it begins: one batch
		accept("1", fine), accept("2", func() error { return errors.New("no good") }), accept("3", fine),
		accept("4", func() error { panic("a broken rule") }), accept("5", fine),
	} {
		if err := w.put(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	if err := w.settle(ctx); err != nil {
		t.Fatal(err)
	}
	got := ""
	for a := range tables.MesosAccepts.All(s.Snapshot()) {
		got += a.Name
	}
	if got != "135" {
		t.Errorf("written are %s, want 135", got)
	}
	if err := w.put(ctx, accept("6", fine)); err != nil {
		t.Fatal(err)
	}
	if err := w.settle(ctx); err != nil {
		t.Fatal(err)
	}
	if n := tables.MesosAccepts.Len(s.Snapshot()); n != 4 {
		t.Errorf("%d rows after one more call, want 4", n)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if text := said.String(); !strings.Contains(text, "no good") || !strings.Contains(text, "a broken rule") || strings.Count(text, "was dropped") != 2 {
		t.Errorf("it said %q", text)
	}
}
