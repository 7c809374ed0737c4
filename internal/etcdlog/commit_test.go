package etcdlog

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"

	"trireme/internal/store"
)

// TestSlowCommit checks what becomes of a commit whose answer is late: it is there
// once, whether the first try came through or not, and it is refused where another
// leader took over meanwhile.
func TestSlowCommit(t *testing.T) {
	log, err := New(Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), UnsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	select {
	case <-log.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	load := func(l *Leader) *store.Contents {
		t.Helper()
		c, err := l.Load(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	l := log.Leader()
	next := load(l).Rev + 1
	// late makes the first answer late, after before has been done to the request.
	late := func(before func(r *pb.TxnRequest)) {
		l.txn = func(_ context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
			l.txn = nil
			before(r)
			return nil, etcderrors.ErrTimeout
		}
	}
	send := func(r *pb.TxnRequest) {
		if resp, err := log.server.Txn(ctx, r); err != nil || !resp.Succeeded {
			t.Errorf("the late commit: %v, %v", resp, err)
		}
	}
	put := func(key string) error {
		err := l.Append(ctx, []store.Entry{{Key: "/registry/" + key, Value: []byte("v"), Rev: next}})
		next++
		return err
	}
	if err := put("plain"); err != nil {
		t.Fatal(err)
	}
	late(send)
	if err := put("late"); err != nil {
		t.Fatalf("it was written and is refused: %v", err)
	}
	late(func(*pb.TxnRequest) {})
	if err := put("lost"); err != nil {
		t.Fatalf("it was lost and not tried again: %v", err)
	}
	if err := put("after"); err != nil {
		t.Fatalf("the leader does not know its own fence: %v", err)
	}
	late(func(r *pb.TxnRequest) {
		send(r)
		load(log.Leader())
	})
	if err := put("fenced"); !errors.Is(err, ErrFenced) {
		t.Fatalf("err = %v where another leader has taken over", err)
	}
	c := load(log.Leader())
	if len(c.Rows) != 5 || len(c.History) != 5 {
		t.Errorf("%d rows, %d in the history, want 5: each commit once", len(c.Rows), len(c.History))
	}
}
