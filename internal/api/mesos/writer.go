package mesos

import (
	"context"

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
	queue chan change
}

// change is what one call writes. A change that fails is dropped alone.
type change func(*store.Tx) error

func newWriter(s *store.Store) *writer { return &writer{s, make(chan change, queueMax)} }

// put queues a change; it waits where too many wait already.
func (w *writer) put(ctx context.Context, c change) error {
	select {
	case w.queue <- c:
		return nil
	case <-ctx.Done():
		return kind.New(kind.Unavailable, "the manager is busy: %w", ctx.Err())
	}
}

func (w *writer) run(ctx context.Context) error {
	for {
		var batch []change
		select {
		case c := <-w.queue:
			batch = append(batch, c)
		case <-ctx.Done():
			return ctx.Err()
		}
		for more := true; more && len(batch) < batchMax; {
			select {
			case c := <-w.queue:
				batch = append(batch, c)
			default:
				more = false
			}
		}
		if _, err := w.store.Update(ctx, func(tx *store.Tx) error {
			for _, c := range batch {
				if err := c(tx); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
}
