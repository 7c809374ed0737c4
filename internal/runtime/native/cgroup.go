package native

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

const cgroupMount = "/sys/fs/cgroup"

// hierarchies returns where control groups are mounted: one folder with version
// 2, one a controller with version 1.
func hierarchies() (dirs []string, unified bool, err error) {
	var st unix.Statfs_t
	if unix.Statfs(cgroupMount, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{cgroupMount}, true, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil, false, kind.New(kind.Unavailable, "looking for control groups: %w", err)
	}
	for _, e := range entries {
		dir := filepath.Join(cgroupMount, e.Name())
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil && e.IsDir() { // not the links
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil, false, kind.New(kind.Unavailable, "no control groups below %s: mount cgroup2 there", cgroupMount)
	}
	return dirs, false, nil
}

// groups are the folders of a group, one a hierarchy.
func (r *Runtime) groups(path string) []string {
	out := make([]string, 0, len(r.cgroups))
	for _, dir := range r.cgroups {
		out = append(out, filepath.Join(dir, path))
	}
	return out
}

// swapAccounted reports whether the kernel limits swap: asking for a limit it
// does not know fails.
var swapAccounted = sync.OnceValue(func() bool {
	for _, file := range []string{cgroupMount + "/memory/memory.memsw.limit_in_bytes"} {
		if _, err := os.Stat(file); err == nil {
			return true
		}
	}
	var st unix.Statfs_t
	if unix.Statfs(cgroupMount, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return false
	}
	// The root group has no limits; our own does, unless it is the root.
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return false
	}
	_, path, ok := strings.Cut(strings.TrimSpace(string(b)), "0::")
	if !ok {
		return false
	}
	_, err = os.Stat(filepath.Join(cgroupMount, path, "memory.swap.max"))
	return err == nil
})

// hugeCounted reports whether the kernel counts huge pages by group.
var hugeCounted = sync.OnceValue(func() bool {
	if _, err := os.Stat(cgroupMount + "/hugetlb/cgroup.procs"); err == nil {
		return true
	}
	b, err := os.ReadFile(cgroupMount + "/cgroup.controllers")
	return err == nil && slices.Contains(strings.Fields(string(b)), "hugetlb")
})

// usage reads what a container's groups have used: CPU time in nanoseconds and
// the working set in bytes, which leaves out file cache that is not in use.
func usage(groups []string) (cpuNano, memoryBytes uint64) {
	for _, g := range groups {
		if n, ok := number(filepath.Join(g, "cpuacct.usage")); ok {
			cpuNano = n
		} else if n, ok := field(filepath.Join(g, "cpu.stat"), "usage_usec"); ok {
			cpuNano = n * 1000
		}
		used, cold := uint64(0), "total_inactive_file"
		var ok bool
		if used, ok = number(filepath.Join(g, "memory.usage_in_bytes")); !ok {
			if used, ok = number(filepath.Join(g, "memory.current")); !ok {
				continue
			}
			cold = "inactive_file"
		}
		cache, _ := field(filepath.Join(g, "memory.stat"), cold)
		memoryBytes = used - min(cache, used)
	}
	return cpuNano, memoryBytes
}

func number(file string) (uint64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

func field(file, name string) (uint64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
