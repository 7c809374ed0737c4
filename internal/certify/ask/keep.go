package ask

import (
	"context"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/util/workqueue"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Keep calls keep with each Ingress, and again when what it asks for, a secret of its
// spec.tls or one beside that has changed, and at the time that keep returned; zero: none. It calls it for so
// many at once, for one Ingress never twice, until ctx ends or keep fails.
func Keep(ctx context.Context, s *store.Store, atOnce int, keep func(context.Context, object.Key) (time.Time, error)) error {
	g, ctx := errgroup.WithContext(ctx)
	queue := workqueue.NewTypedDelayingQueue[object.Key]()
	defer context.AfterFunc(ctx, queue.ShutDown)()
	follow(ctx, g, s, queue.Add)
	for range atOnce {
		g.Go(func() error {
			for {
				key, ended := queue.Get()
				if ended {
					return ctx.Err()
				}
				next, err := keep(ctx, key)
				queue.Done(key)
				if err != nil {
					return err
				}
				if !next.IsZero() {
					queue.AddAfter(key, time.Until(next))
				}
			}
		})
	}
	return g.Wait()
}

// follow calls f with the ingresses that a change may concern.
func follow(ctx context.Context, g *errgroup.Group, s *store.Store, f func(object.Key)) {
	snap := s.Snapshot()
	g.Go(func() error {
		return s.FollowFrom(ctx, snap, tables.Ingresses.Any(), func(key object.Key) error {
			f(key)
			return nil
		})
	})
	g.Go(func() error {
		return s.FollowFrom(ctx, snap, tables.Secrets.Any(), func(key object.Key) error {
			key.Name = strings.TrimSuffix(key.Name, besideEnd)
			for row := range tables.Ingresses.By(s.Snapshot(), tables.IngressesBySecret, key.String()) {
				f(row.Key())
			}
			return nil
		})
	})
	g.Go(func() error {
		return s.FollowFrom(ctx, snap, tables.IngressClasses.Any(), func(object.Key) error {
			for row := range tables.Ingresses.Rows(s.Snapshot(), "") {
				f(row.Key())
			}
			return nil
		})
	})
}
