package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/internal/kind"
	"trireme/internal/runtime/cri"
)

const (
	backoffMin  = 100 * time.Millisecond
	backoffMax  = 10 * time.Second
	steadyAfter = time.Minute      // a run this long forgets earlier failures
	stopGrace   = 10 * time.Second // from SIGTERM to SIGKILL
	logMax      = 8 << 20          // bytes; one older part of this size is kept
	logPeriod   = 30 * time.Second
)

// Containerd is a containerd that is kept running.
type Containerd struct {
	cfg   Config
	dirs  dirs
	ready chan struct{}

	mu   sync.Mutex
	last error // why it ended last
}

// New returns a Containerd that Run will start; it touches nothing.
func New(cfg Config) (*Containerd, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Containerd{cfg: cfg, dirs: dirs(cfg.Root), ready: make(chan struct{})}, nil
}

// Endpoint is the socket's address, for cri.Config.
func (c *Containerd) Endpoint() string { return "unix://" + c.dirs.socket() }

// Ready is closed when containerd has answered for the first time and the images
// are imported. It says nothing about the network: that is CRI's status.
func (c *Containerd) Ready() <-chan struct{} { return c.ready }

// WaitReady blocks until Ready, or until ctx ends; then the error tells how
// containerd ended last, if it did.
func (c *Containerd) WaitReady(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil {
		return kind.New(kind.Unavailable, "waiting for containerd: %w", c.last)
	}
	return kind.New(kind.Timeout, "waiting for containerd: %w", ctx.Err())
}

// Run starts containerd and starts it again whenever it ends, until ctx ends.
// Then it ends containerd, leaving shims and containers alone, and returns nil.
// An error says that it cannot be started at all.
func (c *Containerd) Run(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	wait := backoffMin
	for {
		begun := time.Now()
		err := c.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		c.mu.Lock()
		c.last = err
		c.mu.Unlock()
		if time.Since(begun) > steadyAfter {
			wait = backoffMin
		}
		c.cfg.Log.Warn("containerd ended; starting it again", "err", err, "after", wait, "log", c.dirs.log())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, backoffMax)
	}
}

// prepare makes folders and configuration, and ends a predecessor.
func (c *Containerd) prepare(ctx context.Context) error {
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := exec.LookPath(c.cfg.binary(name)); err != nil {
			return kind.New(kind.Invalid, "starting containerd: %w", err)
		}
	}
	if err := endDaemons(ctx, c.dirs, c.cfg.Log); err != nil {
		return err
	}
	if err := c.forgetOldBoot(); err != nil {
		return err
	}
	for _, dir := range []string{c.dirs.base(), c.dirs.root(), c.dirs.state(), c.dirs.sockets(), c.cfg.CNIConfDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("making containerd's folders: %w", err)
		}
	}
	if err := os.WriteFile(c.dirs.boot(), []byte(bootID()), 0o600); err != nil {
		return fmt.Errorf("noting the boot: %w", err)
	}
	text, err := c.cfg.render()
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.dirs.config(), text, 0o600); err != nil {
		return fmt.Errorf("writing containerd's configuration: %w", err)
	}
	return nil
}

// forgetOldBoot removes the state folder of an earlier boot: its processes and
// mounts are gone, and containerd would look for each of them.
func (c *Containerd) forgetOldBoot() error {
	was, err := os.ReadFile(c.dirs.boot())
	if errors.Is(err, fs.ErrNotExist) || string(was) == bootID() {
		return nil
	}
	if err == nil {
		err = os.RemoveAll(c.dirs.state())
	}
	if err != nil {
		return fmt.Errorf("removing the state of an earlier boot: %w", err)
	}
	return nil
}

// bootID names this boot; empty where the kernel does not say, which makes all
// boots one.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// once runs containerd to its end.
func (c *Containerd) once(ctx context.Context) error {
	if err := boundLog(c.dirs.log()); err != nil {
		return err
	}
	// A file, not a pipe: containerd outlives us when we are killed.
	log, err := os.OpenFile(c.dirs.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening containerd's log: %w", err)
	}
	defer log.Close()
	g, ctx := errgroup.WithContext(ctx)
	cmd := exec.CommandContext(ctx, c.cfg.binary("containerd"), "--config", c.dirs.config())
	cmd.Env = append(os.Environ(), "PATH="+c.cfg.BinDir+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.Dir = c.dirs.base()
	cmd.Stdout, cmd.Stderr = log, log
	// Its own process group: a Ctrl-C at our terminal is for us to act on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	if err := cmd.Start(); err != nil {
		return kind.New(kind.Unavailable, "starting containerd: %w", err)
	}
	g.Go(func() error {
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("containerd: %w: %s", err, lastLine(c.dirs.log()))
		}
		return kind.New(kind.Unavailable, "containerd ended without an error")
	})
	g.Go(func() error { return c.becomeReady(ctx) })
	g.Go(func() error { return c.keepLogBounded(ctx) })
	return g.Wait()
}

// becomeReady waits for the first answer and imports images.
func (c *Containerd) becomeReady(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	default:
	}
	r, err := cri.New(cri.Config{Endpoint: c.Endpoint(), Log: c.cfg.Log})
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.WaitAnswer(ctx); err != nil {
		return err
	}
	if err := c.importImages(ctx, r); err != nil {
		return err
	}
	close(c.ready)
	return nil
}

func (c *Containerd) keepLogBounded(ctx context.Context) error {
	t := time.NewTicker(logPeriod)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := boundLog(c.dirs.log()); err != nil {
				c.cfg.Log.Warn("bounding containerd's log", "err", err)
			}
		}
	}
}

// boundLog moves what is in a full log aside. The writer keeps its file open for
// appending, so the file is emptied, not renamed.
func boundLog(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() <= logMax {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at containerd's log: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading containerd's log: %w", err)
	}
	if err := os.WriteFile(path+".1", b[max(0, len(b)-logMax):], 0o600); err != nil {
		return fmt.Errorf("keeping containerd's log: %w", err)
	}
	return os.Truncate(path, 0)
}

// lastLine returns the end of the log: what containerd died of.
func lastLine(path string) string {
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b[max(0, len(b)-4096):])), "\n")
	return lines[len(lines)-1]
}
