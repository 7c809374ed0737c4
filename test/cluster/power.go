package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// KillContainerd kills the host's containerd; an error: it does not run.
func (h *Host) KillContainerd() error {
	all, err := processes()
	if err != nil {
		return err
	}
	for _, p := range all {
		b, err := os.ReadFile(p.path("cmdline"))
		if err != nil {
			continue // it ended
		}
		name, rest, _ := strings.Cut(string(b), "\x00")
		if filepath.Base(name) == "containerd" && strings.Contains(rest, h.Root+"/") {
			return syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
	return errors.New("no containerd of the host was found")
}

// PowerOff ends every process of the host, containers included, and takes away
// all that memory holds: its network, its mounts. Its disk stays. PowerOn
// follows, and then Restart.
func (h *Host) PowerOff(ctx context.Context) error {
	if err := h.repair(ctx); err != nil {
		return err
	}
	if err := h.killAll(ctx); err != nil {
		return err
	}
	if err := ip(ctx, "-n "+h.c.id+" link del "+h.port, "netns del "+h.Name); err != nil {
		return err
	}
	if err := unmountBelow(h.Root); err != nil {
		return err
	}
	// The kernel below did not boot again, but nothing on the host may believe that
	// what it noted of the last boot holds.
	boot := filepath.Join(h.Root, "containerd", "state", "boot_id")
	if err := os.WriteFile(boot, []byte("another boot"), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// PowerOn gives the host its network again. Nothing runs on it yet.
func (h *Host) PowerOn(ctx context.Context) error { return h.plug(ctx) }

// killAll kills what runs in the host's network namespace and all that these have
// started, until there is nothing.
func (h *Host) killAll(ctx context.Context) error {
	inode, err := os.Stat(string(h.Place()))
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := processes()
		if err != nil {
			return err
		}
		mine := map[int]bool{}
		for _, p := range all {
			if at, err := os.Stat(p.path("ns/net")); err == nil && os.SameFile(at, inode) && p.pid != os.Getpid() {
				mine[p.pid] = true
			}
		}
		for grown := true; grown; {
			grown = false
			for _, p := range all {
				if mine[p.parent] && !mine[p.pid] {
					mine[p.pid], grown = true, true
				}
			}
		}
		if len(mine) == 0 {
			return nil
		}
		for pid := range mine {
			_ = syscall.Kill(pid, syscall.SIGKILL) // or it has ended
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d processes of host %s do not end: %w", len(mine), h.Name, ctx.Err())
		}
	}
}

// process is a line of the machine's process table.
type process struct{ pid, parent int }

func (p process) path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.pid), name)
}

// processes returns what runs on the machine, less what has ended and waits for
// its parent to notice.
func processes() ([]process, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		var p process
		if p.pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path))); err != nil {
			return nil, err
		}
		// The name is in parentheses and may hold anything.
		var state string
		if _, err := fmt.Sscan(string(b[strings.LastIndexByte(string(b), ')')+1:]), &state, &p.parent); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if state != "Z" && state != "X" {
			all = append(all, p)
		}
	}
	return all, nil
}

// unmountBelow unmounts everything below a folder.
func unmountBelow(dir string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for l := range strings.Lines(string(b)) {
		const point = 4
		if f := strings.Fields(l); len(f) > point && strings.HasPrefix(f[point], dir+"/") {
			points = append(points, f[point])
		}
	}
	slices.Sort(points)
	for _, p := range slices.Backward(points) {
		if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", p, err)
		}
	}
	return nil
}
