package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/volume"
	"trireme/internal/dataplane"
	"trireme/internal/runtime/containerd"
)

// Stop ends the process that runs root and waits until it is gone; its
// containers go on. It reports whether there was one.
func Stop(ctx context.Context, root string) (bool, error) {
	pid := Pid(root)
	if pid == 0 {
		return false, nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return true, fmt.Errorf("stopping process %d: %w", pid, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for Pid(root) == pid {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return true, fmt.Errorf("process %d does not end: look at %s", pid, filepath.Join(root, "trireme.log"))
		}
	}
	return true, nil
}

// Teardown removes everything that a stopped process left on this machine:
// containers and their runtime, mounts, links, rules, cgroups, and the state
// itself. Doing it twice is no error.
func Teardown(ctx context.Context, cfg Config) error {
	errs := []error{
		containerd.Teardown(ctx, cfg.Root),
		dataplane.Teardown(ctx, cfg.Root, cfg.Agent.Bridge),
		volume.Teardown(cfg.Root),
		cgroup.Teardown(cfg.Root),
	}
	if err := os.Remove(defaultSocket(cfg.Root)); !errors.Is(err, os.ErrNotExist) { // of a process that was killed
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clearing up: %w (the state is kept in %s; run `trireme down` again)", err, cfg.Root)
	}
	if err := os.RemoveAll(cfg.Root); err != nil {
		return fmt.Errorf("removing the state: %w", err)
	}
	return nil
}
