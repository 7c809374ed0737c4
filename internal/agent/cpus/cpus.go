// Package cpus gives whole CPUs of a node to containers of Guaranteed pods that ask for
// whole ones, and the rest to all others (Kubernetes, "Control CPU Management Policies
// on the Node", policy static).
//
//	all CPUs = reserved ∪ given to one container each ∪ free
//	shared   = reserved ∪ free: what every other container runs on
//
// It moves nobody: who runs where is the agent's to bring about. What was given is
// kept in a file, so that the next agent gives the same. A Manager may be used
// concurrently; a nil one gives nothing and is of the policy none.
//
// To debug: the file, and cpuset.cpus of the containers' control groups. It knows
// nothing of cores, caches and memory nodes.
package cpus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/cgroup"
	"trireme/internal/kind"
	"trireme/internal/object"
)

// Config is what a Manager is told.
type Config struct {
	Path     string // the file of what was given
	All      []int  // the node's CPUs, in order
	Reserved int    // how many of the first are never given; at least 1
}

// Manager keeps who has which CPUs.
type Manager struct {
	cfg Config

	mu    sync.Mutex
	given map[types.UID]map[string][]int // by pod and container
}

// Open returns a Manager that knows what an earlier one gave.
func Open(cfg Config) (*Manager, error) {
	if cfg.Reserved < 1 || cfg.Reserved > len(cfg.All) {
		return nil, kind.New(kind.Invalid, "exclusive CPUs need at least one CPU that is reserved, and at most the %d there are: reserve some cpu", len(cfg.All))
	}
	m := &Manager{cfg: cfg, given: map[types.UID]map[string][]int{}}
	b, err := os.ReadFile(cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m.given)
	}
	if err != nil {
		return nil, fmt.Errorf("reading who has which CPUs: %w: remove %s once no pod runs", err, cfg.Path)
	}
	return m, nil
}

// OpenNode is Open for this machine, the first CPUs reserved.
func OpenNode(path string, reserved int) (*Manager, error) {
	b, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, err
	}
	all, err := Parse(string(b))
	if err != nil {
		return nil, err
	}
	return Open(Config{Path: path, All: all, Reserved: reserved})
}

// Take gives the pod's containers the CPUs that are theirs alone. changed: the others
// have fewer now. An error gives nothing.
func (m *Manager) Take(p *corev1.Pod) (changed bool, err error) {
	want := wants(p)
	if m == nil || len(want) == 0 {
		return false, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.given[p.UID] != nil {
		return false, nil
	}
	free := m.freeLocked()
	mine := map[string][]int{}
	for _, w := range want {
		if w.n > len(free) {
			return false, kind.New(kind.Unavailable, "not enough cpus available to satisfy request: requested=%d, available=%d", w.n, len(free))
		}
		mine[w.container], free = free[:w.n:w.n], free[w.n:]
	}
	m.given[p.UID] = mine
	return true, m.saveLocked()
}

// Release takes back what the pod's containers have. changed: the others have more now.
func (m *Manager) Release(uid types.UID) (changed bool, err error) {
	if m == nil {
		return false, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.given[uid] == nil {
		return false, nil
	}
	delete(m.given, uid)
	return true, m.saveLocked()
}

// Keep forgets the pods that has returns false of.
func (m *Manager) Keep(has func(types.UID) bool) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.given)
	maps.DeleteFunc(m.given, func(uid types.UID, _ map[string][]int) bool { return !has(uid) })
	if len(m.given) == before {
		return nil
	}
	return m.saveLocked()
}

// Exclusive reports whether a container of the pod has CPUs to itself.
func (m *Manager) Exclusive(uid types.UID) bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.given[uid] != nil
}

// Own returns the CPUs that a container has to itself.
func (m *Manager) Own(uid types.UID, container string) []int {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.given[uid][container])
}

// Givable returns the CPUs that containers may have to themselves.
func (m *Manager) Givable() []int {
	if m == nil {
		return nil
	}
	return slices.Clone(m.cfg.All[m.cfg.Reserved:])
}

// Of returns the CPUs that a container may run on, in the kernel's list format; empty:
// all.
func (m *Manager) Of(uid types.UID, container string) string {
	if m == nil {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if own := m.given[uid][container]; len(own) > 0 {
		return List(own)
	}
	return List(append(slices.Clone(m.cfg.All[:m.cfg.Reserved]), m.freeLocked()...))
}

func (m *Manager) freeLocked() []int {
	taken := map[int]bool{}
	for _, pod := range m.given {
		for _, set := range pod {
			for _, n := range set {
				taken[n] = true
			}
		}
	}
	var out []int
	for _, n := range m.cfg.All[m.cfg.Reserved:] {
		if !taken[n] {
			out = append(out, n)
		}
	}
	return out
}

func (m *Manager) saveLocked() error {
	b, err := json.Marshal(m.given)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.cfg.Path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(m.cfg.Path+".new", b, 0o600); err != nil {
		return fmt.Errorf("noting who has which CPUs: %w", err)
	}
	return os.Rename(m.cfg.Path+".new", m.cfg.Path)
}

type want struct {
	container string
	n         int
}

// wants returns the containers that get CPUs of their own: those of a Guaranteed pod
// that ask for whole ones and stay.
func wants(p *corev1.Pod) (out []want) {
	if object.QOS(p) != corev1.PodQOSGuaranteed {
		return nil
	}
	add := func(c *corev1.Container) {
		if milli := c.Resources.Limits.Cpu().MilliValue(); milli > 0 && milli%1000 == 0 {
			out = append(out, want{c.Name, int(milli / 1000)})
		}
	}
	for i := range p.Spec.InitContainers {
		if cgroup.Sidecar(&p.Spec.InitContainers[i]) {
			add(&p.Spec.InitContainers[i])
		}
	}
	for i := range p.Spec.Containers {
		add(&p.Spec.Containers[i])
	}
	return out
}

// Parse reads a list as the kernel writes it: 0-3,8.
func Parse(list string) (out []int, err error) {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		a, err := strconv.Atoi(first)
		if err != nil {
			return nil, fmt.Errorf("reading a list of CPUs %q: %w", list, err)
		}
		b, err := strconv.Atoi(last)
		if err != nil {
			return nil, fmt.Errorf("reading a list of CPUs %q: %w", list, err)
		}
		for n := a; n <= b; n++ {
			out = append(out, n)
		}
	}
	return out, nil
}

// List writes CPUs as the kernel does.
func List(set []int) string {
	set = slices.Clone(set)
	slices.Sort(set)
	var parts []string
	for i := 0; i < len(set); {
		j := i
		for j+1 < len(set) && set[j+1] == set[j]+1 {
			j++
		}
		if j == i {
			parts = append(parts, strconv.Itoa(set[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", set[i], set[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}
