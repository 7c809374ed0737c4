package containerd

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
	"time"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

const cgroupRoot = "/sys/fs/cgroup"

// startTime returns when a process began, in the kernel's ticks since boot; 0
// if it is not there.
func startTime(pid int) uint64 {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	// The name, field 2, is in parentheses and may hold anything.
	_, rest, ok := strings.Cut(string(b[max(0, strings.LastIndexByte(string(b), ')')):]), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0
	}
	n, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// killCgroups kills every process in the cgroups, until there is none: one that
// forks may need more than one round.
func killCgroups(ctx context.Context, paths []string) error {
	deadline := time.Now().Add(killWait)
	for _, path := range paths {
		for {
			pids := processesIn(path)
			if len(pids) == 0 {
				break
			}
			if ctx.Err() != nil || time.Now().After(deadline) {
				return kind.New(kind.Timeout, "processes %v in %s do not end", pids, path)
			}
			var held []process
			for _, pid := range pids {
				if p, err := open(pid); err == nil {
					held = append(held, p)
				}
			}
			if err := end(ctx, held, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// safe returns the paths in order, without any that a damaged state could lead
// astray: a cgroup that everything lives in, or no cgroup at all.
func safe(paths []string) []string {
	var out []string
	for _, path := range slices.Sorted(slices.Values(paths)) {
		rel, err := filepath.Rel(cgroupRoot, path)
		if err == nil && !strings.HasPrefix(rel, "..") && strings.Count(rel, "/") >= minDepth() {
			out = append(out, path)
		}
	}
	return slices.Compact(out)
}

// everyHierarchy returns where a cgroup of that name is, version 1 having a
// hierarchy for each controller; none for no name.
func everyHierarchy(name string) (paths []string) {
	if name == "" {
		return nil
	}
	if isUnified() {
		return []string{filepath.Join(cgroupRoot, name)}
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil // no cgroups at all
	}
	for _, e := range entries {
		if e.IsDir() { // not the links that cgroups mounted together have
			paths = append(paths, filepath.Join(cgroupRoot, e.Name(), name))
		}
	}
	return paths
}

// minDepth is how many slashes a container's own cgroup has at least below
// cgroupRoot: version 1 has a folder for each controller first.
func minDepth() int {
	if isUnified() {
		return 0
	}
	return 1
}

func isUnified() bool {
	var st unix.Statfs_t
	return unix.Statfs(cgroupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// processesIn returns the processes in a cgroup and those below it.
func processesIn(path string) (pids []int) {
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "cgroup.procs" {
			return nil // it went away: nothing to kill there
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return nil
		}
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// removeCgroups removes the cgroups, what is below them, and the parents that
// are empty then: a pod's own, and those the agent made for pods.
func removeCgroups(paths []string) error {
	var errs []error
	for _, path := range paths {
		var dirs []string
		_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		deepestFirst(dirs)
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("removing a cgroup: %w", err))
			}
		}
		removeEmptyParents(filepath.Dir(path))
	}
	return errors.Join(errs...)
}

// removeEmptyParents goes up until a cgroup is in use; it never reaches the
// hierarchy's root.
func removeEmptyParents(path string) {
	for {
		rel, err := filepath.Rel(cgroupRoot, path)
		if err != nil || rel == "." || strings.HasPrefix(rel, "..") || strings.Count(rel, "/") < minDepth() {
			return
		}
		if len(processesIn(path)) > 0 || os.Remove(path) != nil {
			return
		}
		path = filepath.Dir(path)
	}
}
