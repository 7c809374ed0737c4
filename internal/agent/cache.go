package agent

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/wire"
)

// cacheVersion is in the cache's first byte; another one is not read.
const cacheVersion = 1

// cacheDelay lets a burst of assignments be one write.
const cacheDelay = time.Second

// cached is one object in the file of the last assignments.
type cached struct {
	Table string
	Key   object.Key
	Raw   []byte
}

func (a *Agent) cacheFile() string { return a.path("agent", "assignments") }

// cacheLoop keeps the file of the last assignments.
func (a *Agent) cacheLoop(ctx context.Context) error {
	for {
		select {
		case <-a.dirtyCache:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), a.saveCache()) // with the newest statuses
		}
		t := time.NewTimer(cacheDelay)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if err := a.saveCache(); err != nil {
			a.cfg.Log.Error("keeping the assignments", "err", err)
		}
	}
}

// saveCache writes the assignments with the newest statuses, so that an agent
// that starts without a manager knows what it last saw.
func (a *Agent) saveCache() error {
	var rows []cached
	for _, c := range a.objects.all() {
		m, ok := c.object.(wire.Message)
		if !ok {
			continue
		}
		if pod, ok := c.object.(*corev1.Pod); ok {
			if w := a.worker(pod.UID); w != nil {
				m = w.snapshot(pod)
			}
		}
		raw, err := m.Marshal()
		if err != nil {
			return fmt.Errorf("encoding %s %s: %w", c.table, object.KeyOf(c.object), err)
		}
		rows = append(rows, cached{c.table, object.KeyOf(c.object), raw})
	}
	var b bytes.Buffer
	b.WriteByte(cacheVersion)
	if err := gob.NewEncoder(&b).Encode(rows); err != nil {
		return err
	}
	return writeAtomic(a.cacheFile(), b.Bytes())
}

func writeAtomic(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// loadCache assigns what was assigned when the agent last ran.
func (a *Agent) loadCache(ctx context.Context) error {
	b, err := os.ReadFile(a.cacheFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(b) == 0 || b[0] != cacheVersion {
		return nil
	}
	var rows []cached
	if err := gob.NewDecoder(bytes.NewReader(b[1:])).Decode(&rows); err != nil {
		return fmt.Errorf("decoding %s: %w", a.cacheFile(), err)
	}
	items := make([]wire.Item, 0, len(rows))
	for _, r := range rows {
		m := wire.NewMessage(r.Table)
		if m == nil {
			continue
		}
		if err := m.Unmarshal(r.Raw); err != nil {
			return fmt.Errorf("decoding %s %s: %w", r.Table, r.Key, err)
		}
		items = append(items, wire.Item{Table: r.Table, Key: r.Key, Object: m})
	}
	changes := a.objects.apply(true, items)
	a.network(ctx, true, changes)
	a.assignPods(ctx, changes)
	return nil
}

// snapshot returns the pod with the worker's newest status.
func (w *worker) snapshot(pod *corev1.Pod) *corev1.Pod {
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	out := *pod
	if w.shown.status != nil {
		out.Status = *w.shown.status
	}
	return &out
}

// containers returns what is known of the pod's containers.
func (w *worker) containers() map[string]shownContainer {
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	return w.shown.containers
}
