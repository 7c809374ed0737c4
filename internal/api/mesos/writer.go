package mesos

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"

	"trireme/internal/kind"
	"trireme/internal/store"
)

// Bounds of what waits to be written, and of what one transaction writes.
const (
	queueMax = 4096
	batchMax = 512
)

// writer writes what calls ask for, in the order in which they came, many in one
// transaction: a framework acknowledges every status of every task.
type writer struct {
	store *store.Store
	log   *slog.Logger
	queue chan queued
}

// queued is a change that waits. written, where it is not nil, is closed when it is, and all
// before it.
type queued struct {
	change
	written chan struct{}
}

// change is what one call writes. One that fails, or panics, writes nothing and is logged; those
// beside it are written: its call is answered already, and nobody else's is to suffer from it.
type change func(*store.Tx) error

func newWriter(s *store.Store, log *slog.Logger) *writer {
	return &writer{s, log, make(chan queued, queueMax)}
}

// put queues a change; it waits where too many wait already.
func (w *writer) put(ctx context.Context, c change) error { return w.enqueue(ctx, queued{change: c}) }

func (w *writer) enqueue(ctx context.Context, q queued) error {
	select {
	case w.queue <- q:
		return nil
	case <-ctx.Done():
		return kind.New(kind.Unavailable, "the manager is busy: %w", ctx.Err())
	}
}

// settle returns when all that was put before is written.
func (w *writer) settle(ctx context.Context) error {
	q := queued{func(*store.Tx) error { return nil }, make(chan struct{})}
	if err := w.enqueue(ctx, q); err != nil {
		return err
	}
	select {
	case <-q.written:
		return nil
	case <-ctx.Done():
		return kind.New(kind.Unavailable, "the manager is busy: %w", ctx.Err())
	}
}

func (w *writer) run(ctx context.Context) error {
	for {
		var batch []queued
		select {
		case q := <-w.queue:
			batch = append(batch, q)
		case <-ctx.Done():
			return ctx.Err()
		}
		for more := true; more && len(batch) < batchMax; {
			select {
			case q := <-w.queue:
				batch = append(batch, q)
			default:
				more = false
			}
		}
		if err := w.write(ctx, slices.Clone(batch)); err != nil {
			return err
		}
		for _, q := range batch {
			if q.written != nil {
				close(q.written)
			}
		}
	}
}

// write writes a batch as one transaction, without those that fail. An error is the store's.
func (w *writer) write(ctx context.Context, batch []queued) error {
	for len(batch) > 0 {
		at, fault := 0, error(nil)
		_, err := w.store.Update(ctx, func(tx *store.Tx) error {
			for at = range batch {
				if fault = try(batch[at].change, tx); fault != nil {
					return fault
				}
			}
			return nil
		})
		if fault == nil {
			return err
		}
		w.log.Error("a framework's call was dropped", "err", fault)
		batch = slices.Delete(batch, at, at+1) // nothing was written: the rest once more
	}
	return nil
}

// try runs a change; a panic is an error: the transaction is given up.
func try(c change, tx *store.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c(tx)
}
