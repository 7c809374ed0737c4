package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

// Swap is how the containers of a node swap (Kubernetes, "Swap memory management").
// The zero value: none does, as far as limits of memory can say it.
type Swap struct {
	Limited bool  // LimitedSwap; else NoSwap
	Bytes   int64 // the node's
	Counted bool  // the kernel limits the swap of a group
	Unified bool  // by itself, as version 2 does; version 1 limits it together with memory
}

// AllowSwap says whether pods may swap, and returns what the kernel can do about it.
// Bound comes first. The error is kind.Invalid where it is wanted and cannot be limited.
func (t *Tree) AllowSwap(limited bool) (Swap, error) {
	t.swap = Swap{Limited: limited, Unified: t.v2}
	file := "memory.memsw.limit_in_bytes"
	if t.v2 { // where the top group has no limits
		file = filepath.Join(t.name, swapFile)
	}
	for _, dir := range t.dirs {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			t.swap.Counted = true
		}
	}
	if limited && !t.swap.Counted {
		return t.swap, kind.New(kind.Invalid, "LimitedSwap (--swap-behavior, agent.swapBehavior): this kernel does not limit the swap of control groups (no %s): "+
			"boot it with swapaccount=1, or say NoSwap", filepath.Base(file))
	}
	return t.swap, nil
}

// swapFile is version 2's limit of swap alone.
const swapFile = "memory.swap.max"

// swaps reports whether containers of the pod may swap at all. Version 1 cannot limit the
// swap of one without a limit of memory.
func (s Swap) swaps(pod *corev1.Pod) bool {
	if !s.Limited || !s.Counted || object.QOS(pod) != corev1.PodQOSBurstable || object.CriticalPod(pod) {
		return false
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if !s.Unified && list[i].Resources.Limits.Memory().IsZero() {
				return false
			}
		}
	}
	return true
}

// of returns how many bytes a container of the pod may swap: the part of the node's swap
// that its request is of the node's memory.
func (s Swap) of(pod *corev1.Pod, c *corev1.Container, memoryBytes int64) int64 {
	request := c.Resources.Requests.Memory()
	if !s.swaps(pod) || memoryBytes <= 0 || request.IsZero() || request.Cmp(*c.Resources.Limits.Memory()) == 0 {
		return 0
	}
	return int64(float64(min(request.Value(), memoryBytes)) / float64(memoryBytes) * float64(s.Bytes))
}

// limit adds to a container's limits that of its swap.
func (s Swap) limit(r *runtime.Resources, bytes int64) {
	if r.SwapBytes = bytes; s.Counted && s.Unified {
		r.Unified = map[string]string{swapFile: strconv.FormatInt(bytes, 10)}
	}
}

// SwapUsage returns what a container of the pod has swapped out, and what it may; false
// where its group is not found or the kernel does not count swap.
func (t *Tree) SwapUsage(pod *corev1.Pod, container string) (bytes, limit uint64, ok bool) {
	for _, dir := range t.dirs {
		group := filepath.Join(dir, t.Parent(pod), container)
		if b, err := os.ReadFile(filepath.Join(group, swapFile)); err == nil {
			return number(filepath.Join(group, "memory.swap.current")), uint64(amount(string(b))), true
		}
		b, err := os.ReadFile(filepath.Join(group, "memory.memsw.limit_in_bytes"))
		if err != nil {
			continue
		}
		together, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			continue
		}
		memory := number(filepath.Join(group, "memory.limit_in_bytes"))
		return field(filepath.Join(group, "memory.stat"), "swap"), together - min(memory, together), true
	}
	return 0, 0, false
}
