package tunnel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

// Config is what a Tunnel needs; all of it.
type Config struct {
	Dir    string                   // of keys and socket
	Binary string                   // trireme-tunnel
	Link   string                   // the TUN link
	Within func(func() error) error // calls it in the node's network namespace
	Log    *slog.Logger
}

// Tunnel is the process that encrypts.
type Tunnel struct {
	cfg  Config
	wake chan struct{}

	mu   sync.Mutex
	want *State // nil: no process is wanted
	err  error  // of the last try
}

// New returns a tunnel that is not running.
func New(cfg Config) *Tunnel { return &Tunnel{cfg: cfg, wake: make(chan struct{}, 1)} }

// Set says what the process is to know. With nil none is wanted: that of now ends with
// its link.
func (t *Tunnel) Set(s *State) {
	t.mu.Lock()
	if t.want = s; s == nil {
		t.err = nil
	}
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Err returns why the process is not as it should be; nil: it is, or is about to be.
func (t *Tunnel) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

const (
	againAfter = 500 * time.Millisecond
	startMax   = 10 * time.Second // until a started process answers
	startEvery = 5 * time.Millisecond
	callMax    = 10 * time.Second
	logMax     = 1 << 20 // then it begins anew with the next process
)

// Run keeps the process alive and told until ctx ends; it goes on after that.
func (t *Tunnel) Run(ctx context.Context) error {
	again := time.NewTimer(0)
	defer again.Stop()
	var ended <-chan struct{} // of the process that is watched; nil: none is
	for {
		select {
		case <-t.wake:
		case <-again.C:
		case <-ended:
			ended = nil
			if ctx.Err() == nil {
				t.cfg.Log.Warn("the tunnel's process has ended")
			}
		case <-ctx.Done():
			return nil
		}
		t.mu.Lock()
		want := t.want
		t.mu.Unlock()
		if want == nil {
			continue
		}
		err := t.step(ctx, want, &ended)
		t.mu.Lock()
		t.err = err
		t.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			t.cfg.Log.Error("encrypting the overlay", "err", err)
			again.Reset(againAfter)
		}
	}
}

// step has a process run, and know what it is to know.
func (t *Tunnel) step(ctx context.Context, want *State, ended *<-chan struct{}) error {
	if *ended == nil {
		gone, err := t.ensure(ctx)
		if err != nil {
			return err
		}
		*ended = gone
	}
	var have config
	err := t.call("get=1\n\n", func(r io.Reader) (err error) { have, err = parse(r); return err })
	if err != nil {
		return fmt.Errorf("asking the tunnel's process: %w", err)
	}
	text := changes(have, want.config())
	if text == "" {
		return nil
	}
	if err := t.call("set=1\n"+text+"\n", func(r io.Reader) error { return answer(r, func(string, string) {}) }); err != nil {
		return fmt.Errorf("telling the tunnel's process (is UDP port %d free? see %s): %w", Port, t.log(), err)
	}
	return nil
}

func (t *Tunnel) socket() string { return filepath.Join(t.cfg.Dir, "tunnel.sock") }
func (t *Tunnel) log() string    { return filepath.Join(t.cfg.Dir, "tunnel.log") }

// call makes one request.
func (t *Tunnel) call(text string, read func(io.Reader) error) error {
	c, err := net.DialTimeout("unix", t.socket(), callMax)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(callMax)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	return read(c)
}

// ensure finds the process that runs, or starts one, and returns what is closed when it
// ends.
func (t *Tunnel) ensure(ctx context.Context) (<-chan struct{}, error) {
	gone, pid, err := t.watch(ctx)
	if err == nil && !t.old(pid) {
		return gone, nil
	}
	if err == nil {
		t.cfg.Log.Info("replacing the tunnel's process by that of this release", "pid", pid)
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, fmt.Errorf("ending the tunnel's process: %w", err)
		}
		select {
		case <-gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := t.start(); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(startMax)
	for {
		if gone, _, err = t.watch(ctx); err == nil {
			return gone, nil
		}
		if time.Now().After(deadline) {
			return nil, kind.New(kind.Unavailable, "the tunnel's process does not answer: look at %s", t.log())
		}
		select {
		case <-time.After(startEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// watch holds a connection to the process: it ends with it.
func (t *Tunnel) watch(ctx context.Context) (gone <-chan struct{}, pid int, err error) {
	c, err := net.DialTimeout("unix", t.socket(), callMax)
	if err != nil {
		return nil, 0, err
	}
	if pid, err = servedBy(c.(*net.UnixConn)); err != nil {
		c.Close()
		return nil, 0, err
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { c.Close() })
	go func() {
		defer close(ended)
		defer stop()
		defer c.Close()
		_, _ = c.Read(make([]byte, 1)) // nothing is ever said
	}()
	return ended, pid, nil
}

// servedBy returns the process that listens at the other end.
func servedBy(c *net.UnixConn) (pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(e, err); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// old reports whether a process runs another program than ours.
func (t *Tunnel) old(pid int) bool {
	runs, err := digest(fmt.Sprintf("/proc/%d/exe", pid))
	ours, err2 := digest(t.cfg.Binary)
	return err == nil && err2 == nil && !bytes.Equal(runs, ours)
}

func digest(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}

func (t *Tunnel) start() error {
	flags := os.O_CREATE | os.O_APPEND | os.O_WRONLY
	if info, err := os.Stat(t.log()); err == nil && info.Size() > logMax {
		flags |= os.O_TRUNC
	}
	log, err := os.OpenFile(t.log(), flags, 0o600)
	if err != nil {
		return fmt.Errorf("opening the tunnel's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(t.cfg.Binary, "--link", t.cfg.Link, "--socket", t.socket())
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives us
	if err := t.cfg.Within(cmd.Start); err != nil {
		return fmt.Errorf("starting the tunnel's process: %w", err)
	}
	go cmd.Wait() // reaps it if it ends before us
	return nil
}
