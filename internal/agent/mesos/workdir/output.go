package workdir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// The files in which a sandbox has its containers' outputs, and how large one grows before
// it is renamed to NAME.1.
const (
	stdout      = "stdout"
	stderr      = "stderr"
	fileMax     = 50 << 20
	bufferBytes = 32 << 10
)

// Output is what one container writes.
type Output struct {
	Pod     types.UID
	ID      string // the container's
	Sandbox string // the pod's
	Dir     string // the container's folder in it; may be empty
	Log     string // the container's log file
	Running func() bool
}

// Follow has what the container wrote, and writes until it ends, in the files of its
// sandbox. It may be called again for a container that is followed.
func (k *Keeper) Follow(ctx context.Context, o Output) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.outputs[o.ID] != nil {
		return
	}
	f := &following{of: o, done: make(chan struct{})}
	k.outputs[o.ID] = f
	k.works.Go(func() {
		defer close(f.done)
		running := f.of.Running
		f.of.Running = func() bool { return !f.ended.Load() && running() }
		if err := k.copy(ctx, &f.of); err != nil && ctx.Err() == nil {
			k.cfg.Log.Warn("writing a container's output into its sandbox", "sandbox", o.Sandbox, "err", err)
		}
	})
}

// following is one container's output being copied.
type following struct {
	of    Output
	ended atomic.Bool   // the container has ended for sure
	done  chan struct{} // closed when all is copied
}

// finishTimeout bounds the wait for the last words of a pod that is removed.
const finishTimeout = 5 * time.Second

// finish waits until all that the pod's containers, which have ended, wrote is copied.
func (k *Keeper) finish(pod types.UID) {
	k.mu.Lock()
	var all []*following
	for id, f := range k.outputs {
		if f.of.Pod == pod {
			all = append(all, f)
			delete(k.outputs, id)
		}
	}
	k.mu.Unlock()
	timeout := time.NewTimer(finishTimeout)
	defer timeout.Stop()
	for _, f := range all {
		f.ended.Store(true)
		k.logs.Look(f.of.Log)
		select {
		case <-f.done:
		case <-timeout.C:
			return
		}
	}
}

func (k *Keeper) copy(ctx context.Context, o *Output) (err error) {
	root, err := os.OpenRoot(filepath.Join(o.Sandbox, o.Dir))
	if err != nil {
		return err
	}
	defer root.Close()
	f := &files{root: root}
	defer func() { err = errors.Join(err, f.close()) }()
	var since time.Time
	for i, name := range []string{stdout, stderr} {
		at, err := f.files[i].open(root, name)
		if err != nil {
			return err
		}
		if at.After(since) {
			since = at
		}
	}
	if !since.IsZero() {
		since = since.Add(1) // what is there is there
	}
	return k.logs.Copy(ctx, o.Log, since, o.Running, f)
}

// files are both outputs. When a file was last written is when its last line was: an agent
// that starts goes on from there.
type files struct {
	root  *os.Root
	files [2]output
}

type output struct {
	name string
	f    *os.File
	w    *bufio.Writer
	size int64
	last time.Time
}

// open returns when the last line that the file holds was written; zero: it is empty.
func (o *output) open(root *os.Root, name string) (time.Time, error) {
	f, err := openFile(root, name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW)
	if err != nil {
		return time.Time{}, err
	}
	st, err := f.Stat()
	if err != nil {
		return time.Time{}, errors.Join(err, f.Close())
	}
	o.name, o.f, o.w, o.size, o.last = name, f, bufio.NewWriterSize(f, bufferBytes), st.Size(), time.Time{}
	if o.size == 0 {
		return time.Time{}, nil
	}
	return st.ModTime(), nil
}

// Line implements stream.Lines.
func (f *files) Line(isErr bool, at time.Time, text []byte) error {
	o := &f.files[0]
	if isErr {
		o = &f.files[1]
	}
	if o.size+int64(len(text)) > fileMax {
		if err := f.rotate(o); err != nil {
			return err
		}
	}
	o.size += int64(len(text))
	if !at.IsZero() {
		o.last = at
	}
	_, err := o.w.Write(text)
	return err
}

func (f *files) rotate(o *output) error {
	if err := errors.Join(f.flush(o), o.f.Close()); err != nil {
		return err
	}
	if err := f.root.Rename(o.name, o.name+".1"); err != nil {
		return fmt.Errorf("rotating: %w", err)
	}
	_, err := o.open(f.root, o.name)
	return err
}

func (f *files) flush(o *output) error {
	if o.w == nil || o.w.Buffered() == 0 {
		return nil
	}
	if err := o.w.Flush(); err != nil {
		return err
	}
	return f.root.Chtimes(o.name, o.last, o.last)
}

// Flush implements stream.Lines.
func (f *files) Flush() error { return errors.Join(f.flush(&f.files[0]), f.flush(&f.files[1])) }

func (f *files) close() error {
	err := f.Flush()
	for i := range f.files {
		if f.files[i].f != nil {
			err = errors.Join(err, f.files[i].f.Close())
		}
	}
	return err
}
