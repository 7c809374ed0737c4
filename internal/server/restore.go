package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/etcdlog"
	"trireme/internal/kind"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Restored is what a snapshot brought: rows by table, and the revision that the
// cluster goes on from.
type Restored struct {
	Rows map[store.TableID]int `json:"rows"`
	Rev  store.Rev             `json:"revision"`
}

// Restore gives a machine that has no state yet the state of an etcd snapshot.
// The snapshot is read whole before anything is kept: an error leaves the root
// as it was. It must not run beside a process of the same root.
func Restore(ctx context.Context, cfg Config, s etcdlog.Snapshot) (*Restored, error) {
	unlock, err := lock(cfg.Root)
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir, scratch := cfg.path("etcd"), cfg.path("etcd.restoring")
	if _, err := os.Stat(dir); err == nil {
		return nil, kind.New(kind.Exists, "%s holds a cluster's state already: give another --root, or remove this cluster with `trireme down` first", cfg.Root)
	}
	if err := os.RemoveAll(scratch); err != nil { // of a restore that was killed
		return nil, err
	}
	r, err := restoreIn(ctx, scratch, cfg, s)
	if err != nil {
		if gone := os.RemoveAll(scratch); gone != nil {
			return nil, errors.Join(err, gone)
		}
		return nil, err
	}
	return r, os.Rename(scratch, dir)
}

// restoreIn makes the data in dir and reads it as a manager would.
func restoreIn(ctx context.Context, dir string, cfg Config, snap etcdlog.Snapshot) (*Restored, error) {
	if err := snap.Restore(dir, cfg.Log); err != nil {
		return nil, err
	}
	// What goes wrong comes back as an error; the rest is how etcd says that it stops.
	log, err := etcdlog.New(etcdlog.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return log.Run(ctx) })
	var r *Restored
	g.Go(func() error {
		defer stop()
		select {
		case <-log.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
		s, err := store.Open(ctx, store.Config{Log: log.Leader(), Now: time.Now, NewID: func() types.UID { return "" }}, tables.Defs()...)
		if err != nil {
			return fmt.Errorf("reading what the snapshot holds: %w", err)
		}
		snap := s.Snapshot()
		r = &Restored{Rows: map[store.TableID]int{}, Rev: snap.Rev()}
		for _, t := range tables.All() {
			if n := t.Len(snap); n > 0 {
				r.Rows[t.ID()] = n
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil && (r == nil || !errors.Is(err, context.Canceled)) {
		return nil, err
	}
	return r, nil
}
