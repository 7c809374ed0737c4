package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Start starts `trireme up` (or the given command line) on the host in the
// foreground of this process's child; its log is Root/trireme.log. It does not
// wait until it is ready.
func (h *Host) Start(args ...string) error {
	if len(args) == 0 {
		args = []string{"up"}
	}
	h.line = args
	address := h.Address
	if h.c.cfg.Family == Dual {
		address += "," + h.IPv6
	}
	args = append(args[:len(args):len(args)], networkFlags[h.c.cfg.Family]...)
	args = append(args, "--root", h.Root, "--node", h.Name, "--address", address)
	if driver := os.Getenv("TRIREME_TEST_RUNTIME"); driver != "" {
		args = append(args, "--runtime", driver) // the whole suite on the other runtime driver
	}
	out, err := os.OpenFile(filepath.Join(h.Root, "trireme.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	h.process = h.Command(context.Background(), h.c.cfg.Binary, args...)
	h.process.Stdout, h.process.Stderr = out, out
	if err := h.process.Start(); err != nil {
		return err
	}
	h.ended = make(chan struct{})
	go func(p *exec.Cmd, ended chan struct{}) {
		_ = p.Wait() // how it ended is in its log
		close(ended)
	}(h.process, h.ended)
	return nil
}

// Join starts the host as a node of the cluster that manager is of, with more flags.
func (h *Host) Join(ctx context.Context, manager *Host, args ...string) error {
	return h.joinAs(ctx, manager, "node", args)
}

// JoinManager starts the host as a manager of the cluster that manager is of, with more flags.
func (h *Host) JoinManager(ctx context.Context, manager *Host, args ...string) error {
	return h.joinAs(ctx, manager, "manager", args)
}

func (h *Host) joinAs(ctx context.Context, manager *Host, what string, args []string) error {
	status, err := manager.Trireme(ctx, "status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(status) {
		if !strings.Contains(line, "join a "+what) {
			continue
		}
		if _, join, ok := strings.Cut(line, "trireme join "); ok {
			return h.Start(slices.Concat([]string{"join"}, strings.Fields(join), args)...)
		}
	}
	return fmt.Errorf("status does not say how to join as a %s:\n%s", what, status)
}

// Admit makes the others nodes of the cluster that h is of, all at once, and
// returns when they are ready.
func (h *Host) Admit(ctx context.Context, others ...*Host) error {
	for _, o := range others {
		if err := o.Join(ctx, h); err != nil {
			return err
		}
	}
	for _, o := range others {
		if err := h.NodeIs(ctx, o, "True"); err != nil {
			return err
		}
	}
	return nil
}

// Restart starts again what was started last on the host, which has ended.
func (h *Host) Restart() error { return h.Start(h.line...) }

// Pid returns the process that Start started (nsenter becomes the binary).
func (h *Host) Pid() int { return h.process.Process.Pid }

// Ended is closed when the process that Start started has ended.
func (h *Host) Ended() <-chan struct{} { return h.ended }

// Kill ends the process as a power cut would, without its containers.
func (h *Host) Kill() error {
	if err := h.process.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-h.ended
	return nil
}

// Ready waits until the host's node is ready, as its own API says.
func (h *Host) Ready(ctx context.Context) error { return h.NodeIs(ctx, h, "True") }

// NodeIs waits until the host's API says of a node that its condition Ready is
// True, False or Unknown.
func (h *Host) NodeIs(ctx context.Context, node *Host, ready string) error {
	return h.Await(ctx, "node "+node.Name+" has Ready "+ready, func() error {
		out, err := h.Kubectl(ctx, "get", "node", node.Name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != ready {
			err = fmt.Errorf("condition Ready is %q", out)
		}
		return err
	})
}

// Await calls f until it returns nil, or ctx or the host's process ends; what
// is said in the error.
func (h *Host) Await(ctx context.Context, what string, f func() error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-h.ended:
			return fmt.Errorf("waiting until %s: the process ended: %s", what, h.LogTail(15))
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w; last: %w", what, ctx.Err(), err)
		}
	}
}

// LogTail returns the last lines of the process's log.
func (h *Host) LogTail(lines int) string {
	b, err := os.ReadFile(filepath.Join(h.Root, "trireme.log"))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Down stops what runs on the host and removes what it left.
func (h *Host) Down(ctx context.Context) error {
	if _, err := os.Stat(h.Root); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_, err := h.Trireme(ctx, "down", "--root", h.Root)
	return err
}
