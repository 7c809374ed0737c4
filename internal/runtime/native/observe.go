package native

import (
	"cmp"
	"context"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// List returns every sandbox with its containers, oldest first, from memory.
func (r *Runtime) List(context.Context) ([]runtime.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := map[string][]runtime.Container{}
	for _, c := range r.containers {
		of[c.rec.Sandbox] = append(of[c.rec.Sandbox], c.viewLocked())
	}
	out := make([]runtime.Sandbox, 0, len(r.sandboxes))
	for id, s := range r.sandboxes {
		containers := of[id]
		slices.SortFunc(containers, func(a, b runtime.Container) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
		})
		cfg := &s.rec.Config
		out = append(out, runtime.Sandbox{
			ID: id, Name: cfg.Name, Namespace: cfg.Namespace, UID: cfg.UID, Attempt: cfg.Attempt, Ready: s.ready,
			Created: s.rec.Created, Labels: cfg.Labels, Annotations: cfg.Annotations, Containers: containers,
		})
	}
	slices.SortFunc(out, func(a, b runtime.Sandbox) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// Container returns one container in full, kind.NotFound if it is gone.
func (r *Runtime) Container(_ context.Context, id string) (*runtime.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return nil, &kind.Error{Kind: kind.NotFound, Op: "asking the state of container", Object: id}
	}
	v := c.viewLocked()
	return &v, nil
}

// viewLocked needs Runtime.mu.
func (c *container) viewLocked() runtime.Container {
	v := runtime.Container{
		ID: c.rec.ID, Name: c.rec.Name, Attempt: c.rec.Attempt, State: c.state, ImageID: c.rec.ImageID, ImageRef: c.rec.ImageRef,
		Created: c.rec.Created, Started: c.started.Started, LogPath: c.rec.LogPath, Labels: c.rec.Labels, Annotations: c.rec.Annotations,
	}
	if c.state != runtime.Exited {
		return v
	}
	v.Finished, v.ExitCode = c.exit.Finished, c.exit.Code
	switch {
	case c.exit.OOM:
		v.Reason = "OOMKilled"
	case c.exit.Unknown:
		v.Reason, v.Message = "Unknown", "nobody saw the container end"
	case c.exit.Code != 0:
		v.Reason = "Error"
	default:
		v.Reason = "Completed"
	}
	return v
}

// watcher collects the pods that changed until they are taken: one that is slow
// learns of each once.
type watcher struct {
	wake chan struct{} // of one slot

	mu   sync.Mutex
	pods map[types.UID]bool
}

func (r *Runtime) notify(uid types.UID) {
	r.mu.Lock()
	all := make([]*watcher, 0, len(r.watchers))
	for w := range r.watchers {
		all = append(all, w)
	}
	r.mu.Unlock()
	for _, w := range all {
		w.mu.Lock()
		w.pods[uid] = true
		w.mu.Unlock()
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Events yields the UID of each pod whose containers or sandbox changed. The
// first pair is an empty UID. No event is lost, so no other is.
func (r *Runtime) Events(ctx context.Context) iter.Seq2[types.UID, error] {
	return func(yield func(types.UID, error) bool) {
		w := &watcher{wake: make(chan struct{}, 1), pods: map[types.UID]bool{}}
		r.mu.Lock()
		r.watchers[w] = true
		r.mu.Unlock()
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.watchers, w)
		}()
		if !yield("", nil) {
			return
		}
		for {
			select {
			case <-ctx.Done():
				yield("", ctx.Err())
				return
			case <-w.wake:
			}
			w.mu.Lock()
			pods := w.pods
			w.pods = map[types.UID]bool{}
			w.mu.Unlock()
			for uid := range pods {
				if !yield(uid, nil) {
					return
				}
			}
		}
	}
}

// Stats returns what the running containers use now.
func (r *Runtime) Stats(context.Context) ([]runtime.Usage, error) {
	r.mu.Lock()
	var running []*container
	for _, c := range r.containers {
		if c.state == runtime.Running {
			running = append(running, c)
		}
	}
	r.mu.Unlock()
	out := make([]runtime.Usage, 0, len(running))
	for _, c := range running {
		u := runtime.Usage{ContainerID: c.rec.ID, PodUID: c.rec.UID, Pod: c.rec.Pod, Container: c.rec.Name, Time: time.Now()}
		u.CPUNanoTotal, u.MemoryBytes = usage(c.rec.Cgroups)
		u.DiskUsedBytes = r.disk.used(c.rec.ID, r.dir.Container(c.rec.ID, "upper"))
		out = append(out, u)
	}
	return out, nil
}

// diskUse remembers how much containers wrote: finding out is a walk.
type diskUse struct {
	mu   sync.Mutex
	last map[string]measured
}

type measured struct {
	bytes uint64
	at    time.Time
}

// diskEvery is how old a figure may get; kubelets look every ten seconds too.
const diskEvery = 10 * time.Second

func (d *diskUse) used(id, dir string) uint64 {
	d.mu.Lock()
	m, ok := d.last[id]
	d.mu.Unlock()
	if ok && time.Since(m.at) < diskEvery {
		return m.bytes
	}
	m = measured{bytes: sizeOf(dir), at: time.Now()}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[id] = m
	for other, m := range d.last { // of containers that are asked for no more
		if time.Since(m.at) > 10*diskEvery {
			delete(d.last, other)
		}
	}
	return m.bytes
}

// sizeOf is what the files below a folder take of the disk, each once.
func sizeOf(dir string) (bytes uint64) {
	seen := map[uint64]bool{}
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went away
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && !seen[st.Ino] {
			seen[st.Ino] = st.Nlink > 1 && !e.IsDir()
			bytes += uint64(st.Blocks) * 512
		}
		return nil
	})
	return bytes
}

// Check says whether containers can be started, network included.
func (r *Runtime) Check(ctx context.Context) error {
	if _, err := r.shim.Hello(ctx); err != nil {
		return err
	}
	return r.cfg.Network.Ready(ctx)
}
