package dispatch

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestBusyIsNotSilent checks that an agent is not cut off for its silence while
// what it said waits for the manager's room.
func TestBusyIsNotSilent(t *testing.T) {
	now := time.Now()
	st, err := store.Open(t.Context(), store.Config{
		Now: func() time.Time { return now }, NewID: func() types.UID { return types.UID(uuid.NewString()) },
	}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{node: "n"}
	s.ctx, s.cancel = context.WithCancelCause(t.Context())
	long := now.Add(-time.Hour)
	s.heard.Store(&long)
	d := &Dispatcher{cfg: Config{Grace: time.Minute}, store: st, sessions: map[string]*session{"n": s}, lost: map[string]time.Time{}}
	s.busy.Store(true)
	d.away(now)
	if err := context.Cause(s.ctx); err != nil {
		t.Errorf("a session that waits for us was cut: %v", err)
	}
	s.busy.Store(false)
	d.away(now)
	if context.Cause(s.ctx) == nil {
		t.Error("a silent session was not cut")
	}
}
