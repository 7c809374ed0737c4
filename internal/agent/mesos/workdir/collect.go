package workdir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// How long what ended is kept (Mesos, --gc_delay, --gc_disk_headroom), and how often that is
// looked at (--disk_watch_interval).
const (
	keepMax    = 7 * 24 * time.Hour
	headroom   = 0.1
	watchEvery = time.Minute
)

// Run removes sandboxes of pods that have gone, until ctx ends and all outputs are written.
func (k *Keeper) Run(ctx context.Context) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	defer k.works.Wait()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		free, err := k.cfg.Free()
		if err == nil {
			err = k.collect(keepFor(free), time.Now())
		}
		if err != nil {
			k.cfg.Log.Warn("removing old sandboxes", "err", err)
		}
	}
}

// keepFor returns how long sandboxes are kept while so much of the disk is free.
func keepFor(free float64) time.Duration {
	return time.Duration(float64(keepMax) * max(0, free-headroom))
}

// Reclaim removes all sandboxes of pods that have gone.
func (k *Keeper) Reclaim() error { return k.collect(0, time.Now()) }

// collect removes the sandboxes that nobody has used for so long, and the folders above them
// that are empty then.
func (k *Keeper) collect(keep time.Duration, now time.Time) error {
	runs, err := filepath.Glob(filepath.Join(k.cfg.Dir, "slaves", "*", "frameworks", "*", "executors", "*", "runs", "*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range runs {
		st, err := os.Lstat(dir)
		if err != nil || !st.IsDir() || now.Sub(st.ModTime()) < keep || k.cfg.Has(types.UID(filepath.Base(dir))) {
			continue
		}
		k.mu.Lock()
		if _, used := k.used[dir]; !used {
			errs = append(errs, os.RemoveAll(dir), k.prune(filepath.Dir(dir)))
		}
		k.mu.Unlock()
	}
	return errors.Join(errs...)
}

// prune removes a folder of runs that has none any more, and those above it that are empty.
func (k *Keeper) prune(runs string) error {
	left, err := os.ReadDir(runs)
	if err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != "latest" {
		return err
	}
	if err := os.Remove(filepath.Join(runs, "latest")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(filepath.Join(filepath.Dir(runs), namespaceFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for dir := runs; dir != k.cfg.Dir; dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil {
			return nil // another executor's lies in it
		}
	}
	return nil
}
