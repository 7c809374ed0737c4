package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/runtime/shim"
)

const (
	shimWait     = 10 * time.Second // for a shim that was started to answer
	shimAskEvery = 2 * time.Millisecond
	backoffMin   = 50 * time.Millisecond
	backoffMax   = 5 * time.Second
	shimLogMax   = 1 << 20 // bytes that a new shim adds to; it says little
)

// Run keeps the shim running and follows what its containers do, and answers
// streams, until ctx ends. Shim and containers go on after that.
func (r *Runtime) Run(ctx context.Context) error {
	defer r.letGo()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.streams.run(ctx) })
	g.Go(func() error {
		r.tidyLayers(ctx)
		return nil
	})
	g.Go(func() error {
		wait := backoffMin
		for ctx.Err() == nil {
			err := r.ensureShim(ctx)
			if err == nil {
				err = r.shim.Watch(ctx, func() {
					wait = backoffMin
					r.watching(ctx)
				}, r.ended)
			}
			if ctx.Err() != nil {
				break
			}
			r.cfg.Log.Warn("the shim went away; starting it again", "err", err, "log", r.dir.Log())
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, backoffMax)
		}
		return nil
	})
	return g.Wait()
}

// letGo closes what is held for containers: the next runtime asks for it again.
func (r *Runtime) letGo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		c.held.Close() // nil is fine
		c.held = nil
	}
}

// WaitReady blocks until containers can be started, or ctx ends.
func (r *Runtime) WaitReady(ctx context.Context) error {
	select {
	case <-r.up:
		return nil
	case <-ctx.Done():
		return kind.New(kind.Timeout, "waiting for the shim: %w: look at %s", ctx.Err(), r.dir.Log())
	}
}

// ensureShim starts a shim where none answers, and replaces one that speaks
// another version.
func (r *Runtime) ensureShim(ctx context.Context) error {
	hello, err := r.shim.Hello(ctx)
	if err == nil && hello.Version == shim.Version {
		return nil
	}
	if err == nil {
		r.cfg.Log.Info("replacing a shim of another version", "version", hello.Version)
		if err := syscall.Kill(hello.Pid, syscall.SIGTERM); err != nil {
			return fmt.Errorf("ending the shim: %w", err)
		}
	}
	flags := os.O_CREATE | os.O_APPEND | os.O_WRONLY
	if info, err := os.Stat(r.dir.Log()); err == nil && info.Size() > shimLogMax {
		flags |= os.O_TRUNC
	}
	log, err := os.OpenFile(r.dir.Log(), flags, 0o600)
	if err != nil {
		return fmt.Errorf("opening the shim's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(r.cfg.BinDir, "trireme-shim"), "--dir", string(r.dir))
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives us
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the shim: %w", err)
	}
	go cmd.Wait() // reaps it if it ends before us
	ctx, cancel := context.WithTimeout(ctx, shimWait)
	defer cancel()
	for {
		now, err := r.shim.Hello(ctx)
		if err == nil && now.Version == shim.Version {
			return nil
		}
		select {
		case <-ctx.Done():
			return kind.New(kind.Unavailable, "the shim does not answer: look at %s", r.dir.Log())
		case <-time.After(shimAskEvery):
		}
	}
}

// keepAttached has the network let go, once, of sandboxes that were lost.
func (r *Runtime) keepAttached(ctx context.Context) {
	r.mu.Lock()
	first := !r.upped
	r.mu.Unlock()
	if !first {
		return
	}
	err := r.cfg.Network.Keep(ctx, func(id string) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.sandboxes[id] != nil
	})
	if err != nil {
		r.cfg.Log.Warn("taking the network of lost sandboxes away", "err", err)
	}
}

// watching is called when the shim tells what ends from now on: what ended
// before is in its files.
func (r *Runtime) watching(ctx context.Context) {
	for _, id := range r.halves {
		r.cfg.Log.Info("removing a sandbox that was not made to its end", "sandbox", id)
		r.dismantle(ctx, id)
	}
	r.halves = nil
	r.keepAttached(ctx)
	r.mu.Lock()
	var all []*container
	for _, c := range r.containers {
		if c.state != runtime.Exited {
			all = append(all, c)
		}
	}
	if !r.upped {
		r.upped = true
		close(r.up)
	}
	var shared []*sandbox
	for _, s := range r.sandboxes {
		if s.ready && sharesOwn(&s.rec.Config) {
			shared = append(shared, s)
		}
	}
	r.mu.Unlock()
	for _, c := range all {
		r.refresh(c)
		r.hold(ctx, c)
	}
	for _, s := range shared {
		if _, err := r.pausePid(s.rec.ID); err != nil {
			r.ended(s.rec.ID)
		}
	}
}

// ended is called for each container that ends.
func (r *Runtime) ended(id string) {
	r.mu.Lock()
	c, s := r.containers[id], r.sandboxes[id]
	lost := s != nil && s.ready
	if lost { // the process that held its process space
		s.ready = false
	}
	r.mu.Unlock()
	if c != nil {
		r.refresh(c)
	}
	if lost {
		r.notify(s.rec.Config.UID)
	}
}

// Retire ends the shim and removes the folder. Run must have returned, and no
// sandbox may be left.
func (r *Runtime) Retire(ctx context.Context) error {
	if list, err := r.List(ctx); err != nil || len(list) > 0 {
		return kind.New(kind.Invalid, "%d sandboxes are left", len(list))
	}
	if hello, err := r.shim.Hello(ctx); err == nil {
		if err := syscall.Kill(hello.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("ending the shim: %w", err)
		}
	}
	return os.RemoveAll(string(r.dir))
}
