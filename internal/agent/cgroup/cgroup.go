package cgroup

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/runtime"
)

// mount is where the kernel's tree is; usualRoot the state root whose tree has
// the short name.
const (
	mount     = "/sys/fs/cgroup"
	usualRoot = "/var/lib/trireme"
)

// Tree is the part of the kernel's tree that belongs to one state root.
type Tree struct {
	mount string
	name  string   // "/trireme"
	v2    bool     // the unified hierarchy
	dirs  []string // the hierarchies' mount points; one with v2
	swap  Swap
}

// Open returns the tree of the state root. Nothing is made yet.
func Open(stateRoot string) (*Tree, error) { return open(mount, stateRoot) }

func open(mount, stateRoot string) (*Tree, error) {
	t := &Tree{mount: mount, name: treeName(stateRoot)}
	if _, err := os.Stat(filepath.Join(mount, "cgroup.controllers")); err == nil {
		t.v2, t.dirs = true, []string{mount}
		return t, nil
	}
	entries, err := os.ReadDir(mount)
	if err != nil {
		return nil, fmt.Errorf("reading the control groups: %w", err)
	}
	seen := map[string]bool{}
	for _, e := range entries {
		dir := filepath.Join(mount, e.Name())
		real, err := filepath.EvalSymlinks(dir) // cpu,cpuacct are links to one hierarchy
		if err != nil || seen[real] {
			continue
		}
		if _, err := os.Stat(filepath.Join(real, "cgroup.procs")); err == nil && e.Name() != "unified" {
			seen[real] = true
			t.dirs = append(t.dirs, real)
		}
	}
	if len(t.dirs) == 0 {
		return nil, fmt.Errorf("no control groups below %s: mount cgroup2 there", mount)
	}
	return t, nil
}

func treeName(stateRoot string) string {
	clean := filepath.Clean(stateRoot)
	if clean == usualRoot {
		return "/trireme"
	}
	h := fnv.New32a()
	h.Write([]byte(clean))
	return fmt.Sprintf("/trireme-%08x", h.Sum32())
}

// Parent returns the path of the pod's group as a runtime wants it.
func (t *Tree) Parent(pod *corev1.Pod) string { return t.parent(pod.UID, object.QOS(pod)) }

func (t *Tree) parent(uid types.UID, qos corev1.PodQOSClass) string {
	name := "pod" + string(uid)
	switch qos {
	case corev1.PodQOSBurstable:
		return t.name + "/burstable/" + name
	case corev1.PodQOSBestEffort:
		return t.name + "/besteffort/" + name
	}
	return t.name + "/" + name
}

// Create makes the pod's group, with its limits, in every hierarchy. One that is
// there is given more where the pod may have more, never less: what is in it may
// have to shrink first.
func (t *Tree) Create(pod *corev1.Pod) error { return t.set(pod, true) }

// Fit brings the limits of the pod's group to what the pod may have.
func (t *Tree) Fit(pod *corev1.Pod) error { return t.set(pod, false) }

func (t *Tree) set(pod *corev1.Pod, more bool) error {
	parent, r := t.Parent(pod), Pod(pod)
	still := !t.swap.swaps(pod)
	for _, dir := range t.dirs {
		path := filepath.Join(dir, parent)
		if t.v2 {
			if err := t.delegate(parent); err != nil {
				return err
			}
		}
		made, err := t.mkdir(dir, parent)
		if err != nil {
			return fmt.Errorf("making the control group of pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		if err := t.limit(path, r, more && !made); err != nil {
			return fmt.Errorf("limiting pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		if made && still { // the containers' groups take it over
			if err := put(filepath.Join(path, "memory.swappiness"), "0"); err != nil {
				return fmt.Errorf("keeping pod %s/%s from swapping: %w", pod.Namespace, pod.Name, err)
			}
		}
	}
	return nil
}

// besteffortShares is the weight of all BestEffort pods together: what others leave.
const besteffortShares = sharesMin

// Bound limits all pods together to the cpu, memory and pid of the list; nil: to
// nothing. The groups of the classes of service are made, so that what is left over
// for BestEffort pods is what they get.
func (t *Tree) Bound(most corev1.ResourceList) error {
	r := runtime.Resources{CPUShares: sharesPerCPU, MemoryBytes: most.Memory().Value()}
	if cpu := most.Cpu().MilliValue(); cpu > 0 {
		r.CPUShares = shares(cpu)
	}
	pids := "max"
	if q, ok := most["pid"]; ok && q.Sign() > 0 {
		pids = strconv.FormatInt(q.Value(), 10)
	}
	for _, dir := range t.dirs {
		best := t.name + "/besteffort"
		if t.v2 {
			if err := t.delegate(best); err != nil {
				return err
			}
		}
		if _, err := t.mkdir(dir, best); err != nil {
			return fmt.Errorf("making the control groups of all pods: %w", err)
		}
		err := errors.Join(t.limit(filepath.Join(dir, t.name), r, false), put(filepath.Join(dir, t.name, "pids.max"), pids),
			t.limit(filepath.Join(dir, best), runtime.Resources{CPUShares: besteffortShares}, false))
		if err != nil {
			return fmt.Errorf("limiting all pods together: %w", err)
		}
	}
	return nil
}

// put writes a file of a group, if the group has it.
func put(file, value string) error {
	if _, err := os.Stat(file); err != nil {
		return nil
	}
	return os.WriteFile(file, []byte(value), 0)
}

// mkdir makes parent below dir and reports whether it was not there. A new cpuset
// group of version 1 is unusable until it has processors and memory nodes: it
// takes its parent's.
func (t *Tree) mkdir(dir, parent string) (made bool, err error) {
	path := dir
	for _, part := range strings.Split(strings.Trim(parent, "/"), "/") {
		up := path
		path = filepath.Join(path, part)
		if err := os.Mkdir(path, 0o755); errors.Is(err, fs.ErrExist) {
			made = false
			continue
		} else if err != nil {
			return false, err
		}
		made = true
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			if t.v2 {
				break
			}
			if b, err := os.ReadFile(filepath.Join(up, f)); err == nil {
				if err := os.WriteFile(filepath.Join(path, f), b, 0); err != nil {
					return false, err
				}
			}
		}
	}
	return made, nil
}

// delegate hands the controllers down to the parent of the pod's group.
func (t *Tree) delegate(parent string) error {
	b, err := os.ReadFile(filepath.Join(t.mount, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var on []string
	for _, c := range strings.Fields(string(b)) {
		on = append(on, "+"+c)
	}
	parts := strings.Split(strings.Trim(parent, "/"), "/")
	for i := range parts { // the pod's own included: the containers' groups need them
		up := filepath.Join(t.mount, filepath.Join(parts[:i]...))
		if err := os.MkdirAll(up, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(up, "cgroup.subtree_control"), []byte(strings.Join(on, " ")), 0); err != nil {
			return fmt.Errorf("handing controllers down in %s: %w", up, err)
		}
	}
	return nil
}

// limit writes the limits of one group, only those that are above what it has with
// more.
func (t *Tree) limit(path string, r runtime.Resources, more bool) error {
	files := map[string]string{
		"cpu.shares":            strconv.FormatInt(r.CPUShares, 10),
		"cpu.cfs_quota_us":      strconv.FormatInt(r.CPUQuota, 10),
		"memory.limit_in_bytes": strconv.FormatInt(r.MemoryBytes, 10),
	}
	if r.CPUQuota == 0 {
		files["cpu.cfs_quota_us"] = "-1"
	}
	if r.MemoryBytes == 0 {
		files["memory.limit_in_bytes"] = "-1"
	}
	if t.v2 {
		files = map[string]string{
			"cpu.weight": strconv.FormatInt(weight(r.CPUShares), 10), "cpu.max": "max", "memory.max": "max",
		}
		if r.CPUQuota > 0 {
			files["cpu.max"] = fmt.Sprintf("%d %d", r.CPUQuota, r.CPUPeriod)
		}
		if r.MemoryBytes > 0 {
			files["memory.max"] = strconv.FormatInt(r.MemoryBytes, 10)
		}
	}
	for size, bytes := range r.HugePages {
		name := "hugetlb." + size + ".limit_in_bytes"
		if t.v2 {
			name = "hugetlb." + size + ".max"
		}
		files[name] = strconv.FormatInt(bytes, 10)
	}
	for name, value := range files {
		file := filepath.Join(path, name)
		b, err := os.ReadFile(file)
		if err != nil {
			continue // another hierarchy's, or a controller the kernel lacks
		}
		if more && amount(value) <= amount(string(b)) {
			continue
		}
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return err
		}
	}
	return nil
}

// amount reads the first number of a limit; none and below zero are no limit.
func amount(s string) int64 {
	first, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	if n, err := strconv.ParseInt(first, 10, 64); err == nil && n >= 0 {
		return n
	}
	return math.MaxInt64
}

// weight maps version 1's shares to version 2's weight as runc documents it
// for crun and systemd: 2…262144 to 1…10000.
func weight(shares int64) int64 {
	return 1 + (max(shares, sharesMin)-sharesMin)*9999/(sharesMax-sharesMin)
}

// Remove removes the pod's group. Whatever still runs in it is killed.
func (t *Tree) Remove(uid types.UID) error {
	var errs []error
	for _, qos := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
		for _, dir := range t.dirs {
			errs = append(errs, removeAll(filepath.Join(dir, t.parent(uid, qos))))
		}
	}
	return errors.Join(errs...)
}

// Usage returns the CPU time and the memory in use of the group at path.
func (t *Tree) Usage(pod *corev1.Pod) (cpuNano, memoryBytes uint64) { return t.usage(t.Parent(pod)) }

// Processes returns how many processes the pod runs.
func (t *Tree) Processes(pod *corev1.Pod) (n int64) {
	for _, dir := range t.dirs {
		n = max(n, int64(number(filepath.Join(dir, t.Parent(pod), "pids.current"))))
	}
	return n
}

// Process returns a process that runs in the pod, 0 where none does.
func (t *Tree) Process(pod *corev1.Pod) (pid int) {
	if len(t.dirs) == 0 {
		return 0
	}
	root := filepath.Join(t.dirs[0], t.Parent(pod))
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() != "cgroup.procs" {
			return nil // a group may go meanwhile
		}
		if b, err := os.ReadFile(path); err == nil {
			first, _, _ := strings.Cut(string(b), "\n")
			if pid, err = strconv.Atoi(first); err == nil && pid > 0 {
				return fs.SkipAll
			}
		}
		return nil
	})
	return pid
}

// NodeUsage returns the CPU time and the memory of the whole machine.
func (t *Tree) NodeUsage() (cpuNano, memoryBytes uint64) { return t.usage("/") }

func (t *Tree) usage(path string) (cpuNano, memoryBytes uint64) {
	for _, dir := range t.dirs {
		at := filepath.Join(dir, path)
		if t.v2 {
			cpuNano = field(filepath.Join(at, "cpu.stat"), "usage_usec") * 1000
			memoryBytes = number(filepath.Join(at, "memory.current")) - field(filepath.Join(at, "memory.stat"), "inactive_file")
			continue
		}
		cpuNano = max(cpuNano, number(filepath.Join(at, "cpuacct.usage")))
		if used := number(filepath.Join(at, "memory.usage_in_bytes")); used > 0 {
			cache := field(filepath.Join(at, "memory.stat"), "total_inactive_file")
			memoryBytes = used - min(cache, used)
		}
	}
	return cpuNano, memoryBytes
}

func number(file string) uint64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func field(file, name string) uint64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == name {
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// Teardown removes the whole tree of the state root and kills what runs in it.
func Teardown(stateRoot string) error {
	t, err := Open(stateRoot)
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range append(t.dirs, filepath.Join(t.mount, "unified")) {
		errs = append(errs, removeAll(filepath.Join(dir, t.name)))
	}
	return errors.Join(errs...)
}

// removeTries bounds the wait for killed processes to leave their group.
const (
	removeTries = 50
	removePause = 10 * time.Millisecond
)

// removeAll removes the groups at and below path, deepest first.
func removeAll(path string) error {
	var dirs []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil // what is gone meanwhile is what we want
	})
	if err != nil {
		return err
	}
	slices.Reverse(dirs)
	for _, dir := range dirs {
		for try := 0; ; try++ {
			err := syscall.Rmdir(dir)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if try == removeTries {
				return fmt.Errorf("removing control group %s: %w", dir, err)
			}
			kill(dir)
			time.Sleep(removePause) // a killed process leaves when it is reaped, and nobody tells
		}
	}
	return nil
}

func kill(dir string) {
	if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return
	}
	for _, s := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(s); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
		}
	}
}
