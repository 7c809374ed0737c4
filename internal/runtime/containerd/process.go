package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

// killWait is how long a process may take to be gone after SIGKILL.
const killWait = 5 * time.Second

// process is a running process, held by a descriptor so that a reused number
// cannot be hit.
type process struct {
	pid int
	fd  int
}

// find returns the running processes that match, with their descriptors open.
func find(match func(argv []string) bool) ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("looking for processes: %w", err)
	}
	var out []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !match(argv(pid)) {
			continue
		}
		p, err := open(pid)
		if err != nil {
			continue // it ended meanwhile
		}
		if !match(argv(pid)) { // another process took the number before it was held
			p.close()
			continue
		}
		out = append(out, p)
	}
	return out, nil
}

// argv returns a process's arguments, nil if it has none to show.
func argv(pid int) []string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00")
}

func open(pid int) (process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return process{}, fmt.Errorf("holding process %d: %w", pid, err)
	}
	return process{pid: pid, fd: fd}, nil
}

func (p process) close() { unix.Close(p.fd) }

// signal sends sig; a process that has ended is fine.
func (p process) signal(sig unix.Signal) error {
	if err := unix.PidfdSendSignal(p.fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signalling process %d: %w", p.pid, err)
	}
	return nil
}

// gone waits at most limit for the process to end.
func (p process) gone(ctx context.Context, limit time.Duration) bool {
	end := time.Now().Add(limit)
	for {
		left := min(time.Until(end), 100*time.Millisecond) // so that ctx is looked at
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(left, 0).Milliseconds()))
		if n == 1 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) || ctx.Err() != nil || !time.Now().Before(end) {
			return false
		}
	}
}

// end sends all of them SIGTERM, and SIGKILL to what is there after grace. It
// closes the descriptors.
func end(ctx context.Context, all []process, grace time.Duration) error {
	var errs []error
	for _, p := range all {
		defer p.close()
		if grace > 0 {
			errs = append(errs, p.signal(unix.SIGTERM))
		}
	}
	deadline := time.Now().Add(grace)
	for _, p := range all {
		if grace > 0 && p.gone(ctx, time.Until(deadline)) {
			continue
		}
		if err := p.signal(unix.SIGKILL); err != nil {
			errs = append(errs, err)
			continue
		}
		if !p.gone(ctx, killWait) {
			errs = append(errs, kind.New(kind.Timeout, "process %d does not end", p.pid))
		}
	}
	return errors.Join(errs...)
}

// endDaemons ends every containerd that was started with the configuration of d.
func endDaemons(ctx context.Context, d dirs, log *slog.Logger) error {
	left, err := find(func(argv []string) bool {
		return len(argv) > 0 && filepath.Base(argv[0]) == "containerd" && slices.Contains(argv, d.config())
	})
	if err != nil {
		return err
	}
	for _, p := range left {
		log.Info("ending the containerd of a predecessor", "pid", p.pid)
	}
	if err := end(ctx, left, stopGrace); err != nil {
		return fmt.Errorf("ending an earlier containerd: %w", err)
	}
	return nil
}
