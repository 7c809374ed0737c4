// Package usage measures what a node has left and what its pods use of memory, disk,
// inodes and processes.
//
// It keeps nothing: every call looks anew, and reads every file of the pods it is
// asked about. To debug: du, df and the pod's control groups say the same.
package usage

import (
	"context"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/host"
	"trireme/internal/agent/pressure"
	"trireme/internal/dataplane/link"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

// Meter measures a node and its pods. Every field but Tree is required.
type Meter struct {
	Root      string // the state root, on the node's file system
	ImageRoot string // where images are
	Runtime   runtime.Observer
	Tree      *cgroup.Tree // nil: what only groups tell is not known
	All       func() []*corev1.Pod
	LogDir    func(*corev1.Pod) string
	EmptyDir  func(pod *corev1.Pod, volume string) string
	Traffic   func() (map[string]link.Traffic, error)
}

// Node implements pressure.Meter.
func (m *Meter) Node(context.Context) map[pressure.Signal]pressure.Amount {
	out := map[pressure.Signal]pressure.Amount{}
	put := func(s pressure.Signal, n host.Amount) {
		if n.Capacity > 0 {
			out[s] = pressure.Amount(n)
		}
	}
	put(pressure.Memory, host.Memory())
	put(pressure.Processes, host.Processes())
	disk, inodes := host.Disk(m.Root)
	put(pressure.Disk, disk)
	put(pressure.Inodes, inodes)
	disk, inodes = host.Disk(m.ImageRoot)
	put(pressure.ImageDisk, disk)
	put(pressure.ImageInodes, inodes)
	return out
}

// Pods implements pressure.Meter.
func (m *Meter) Pods(ctx context.Context, want func(*corev1.Pod) bool) ([]pressure.Usage, error) {
	var pods []*corev1.Pod
	for _, p := range m.All() {
		if !object.PodEnded(p) && want(p) {
			pods = append(pods, p)
		}
	}
	if len(pods) == 0 {
		return nil, nil
	}
	stats, err := m.Runtime.Stats(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]pressure.Usage, 0, len(pods))
	for _, p := range pods {
		out = append(out, m.usage(p, stats))
	}
	return out, nil
}

func (m *Meter) usage(p *corev1.Pod, stats []runtime.Usage) pressure.Usage {
	u := pressure.Usage{Pod: p, Containers: map[string]pressure.ContainerUsage{}, EmptyDirs: map[string]int64{}}
	for _, s := range stats {
		if s.PodUID == p.UID {
			u.Containers[s.Container] = pressure.ContainerUsage{MemoryBytes: int64(s.MemoryBytes), DiskBytes: int64(s.DiskUsedBytes)}
			u.MemoryBytes += int64(s.MemoryBytes)
		}
	}
	for name, c := range u.Containers {
		bytes, inodes := DiskUse(filepath.Join(m.LogDir(p), name))
		c.DiskBytes += bytes
		u.Containers[name] = c
		u.DiskBytes, u.Inodes = u.DiskBytes+c.DiskBytes, u.Inodes+inodes
	}
	for i := range p.Spec.Volumes {
		if v := &p.Spec.Volumes[i]; v.EmptyDir != nil && v.EmptyDir.Medium == "" {
			bytes, inodes := DiskUse(m.EmptyDir(p, v.Name))
			u.EmptyDirs[v.Name] = bytes
			u.DiskBytes, u.Inodes = u.DiskBytes+bytes, u.Inodes+inodes
		}
	}
	if m.Tree != nil {
		u.Processes = m.Tree.Processes(p)
		if _, memory := m.Tree.Usage(p); memory > 0 {
			u.MemoryBytes = int64(memory) // what no container has to itself included
		}
	}
	return u
}
