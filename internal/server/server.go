package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/grpclog"

	"trireme/internal/etcdlog"
	"trireme/internal/kind"
)

// Run runs what cfg asks for until ctx ends or a part fails. A cfg that was not
// Completed is refused.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return kind.New(kind.Denied, "not root: a node makes namespaces, mounts and links; run it with sudo")
	}
	// gRPC logs every try to reach a socket that is not there yet.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	unlock, err := lock(cfg.Root)
	if err != nil {
		return err
	}
	defer unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := trim(ctx, cfg.Root); err != nil && ctx.Err() == nil {
			cfg.Log.Warn("giving memory back", "err", err)
		}
		return nil
	})
	var m *manager
	if cfg.Manager.Enabled {
		if cfg.Manager.Alone && !etcdlog.Exists(cfg.path("etcd")) {
			return errors.Join(kind.New(kind.Invalid, "--force-new-cluster: %s holds no manager's state: `trireme up` begins a cluster", cfg.Root), stop(g, ctx))
		}
		join, err := joinManagers(ctx, &cfg)
		if err != nil {
			return errors.Join(err, stop(g, ctx))
		}
		if m, err = newManager(cfg, join); err != nil {
			return errors.Join(err, stop(g, ctx))
		}
		g.Go(func() error { return m.Run(ctx) })
	}
	if cfg.Agent.Enabled {
		n, err := newNode(cfg, m)
		if err != nil {
			return errors.Join(err, stop(g, ctx))
		}
		g.Go(func() error { return n.Run(ctx) })
	}
	err = g.Wait()
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || err == nil) {
		return nil
	}
	return err
}

// stop ends a group whose start went wrong half way.
func stop(g *errgroup.Group, _ context.Context) error {
	g.Go(func() error { return context.Canceled })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// lock makes the root and takes it for this process.
func lock(root string) (unlock func(), err error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	f, err := os.OpenFile(root+"/trireme.lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("taking the state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid := Pid(root)
		f.Close()
		return nil, kind.New(kind.Exists, "%s is in use by process %d: stop it with `trireme down --root %s`, or choose another --root", root, pid, root)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("writing %s: %w", f.Name(), err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("writing %s: %w (is the disk full?)", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// Pid returns the process that runs root, 0 where none does.
func Pid(root string) int {
	f, err := os.Open(root + "/trireme.lock")
	if err != nil {
		return 0
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0 // nobody holds it
	}
	b := make([]byte, 20)
	n, _ := f.Read(b)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return pid
}

// listen takes a port, and says what to do where it is taken.
func listen(what, flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(addr)
		return nil, kind.New(kind.Exists, "%s: port %s is taken by another process: stop it (`ss -ltnp sport = :%s` shows it) or choose another with %s", what, port, port, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: listening on %s: %w", what, addr, err)
	}
	return l, nil
}
