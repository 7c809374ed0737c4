package usage

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/agent/host"
	"trireme/internal/agent/stream"
	"trireme/internal/runtime"
)

// Summary returns what the node and its pods use now, the pods sorted by key.
func (m *Meter) Summary(ctx context.Context, node string) (*stream.Summary, error) {
	stats, err := m.Runtime.Stats(ctx)
	if err != nil {
		return nil, err
	}
	out := &stream.Summary{Node: stream.NodeStats{NodeName: node}}
	now := metav1.NewTime(time.Now())
	if m.Tree != nil {
		cpu, memory := m.Tree.NodeUsage()
		out.Node.CPU, out.Node.Memory = stream.CPU(now, cpu, 0), stream.Memory(now, memory)
	}
	out.Node.Swap = swap(now)
	out.Node.FS, out.Node.Runtime.ImageFS = disk(now, m.Root), disk(now, m.ImageRoot)
	traffic, err := m.Traffic()
	if err != nil {
		return nil, err
	}
	for _, pod := range m.All() {
		p := stream.PodStats{PodRef: stream.PodRef{Name: pod.Name, Namespace: pod.Namespace, UID: string(pod.UID)}}
		if t := pod.Status.StartTime; t != nil {
			p.StartTime = *t
		}
		if t, ok := traffic[pod.Namespace+"/"+pod.Name]; ok && !pod.Spec.HostNetwork {
			p.Network = stream.Network(now, t)
		}
		m.addContainers(&p, pod, now, stats)
		out.Pods = append(out.Pods, p)
	}
	return out, nil
}

// disk returns how full the file system of a path is; nil where that is not known.
func disk(now metav1.Time, path string) *stream.FSStats {
	bytes, inodes := host.Disk(path)
	if bytes.Capacity == 0 {
		return nil
	}
	return stream.FS(now, bytes, inodes)
}

// swap returns the node's swap; nil where it has none.
func swap(now metav1.Time) *stream.SwapStats {
	s := host.Swap()
	if s.Capacity == 0 {
		return nil
	}
	return stream.Swap(now, uint64(s.Capacity-s.Available), uint64(s.Capacity))
}

// addContainers adds what the pod's containers use.
func (m *Meter) addContainers(p *stream.PodStats, pod *corev1.Pod, now metav1.Time, stats []runtime.Usage) {
	var cpu, cpuNow, memory uint64
	for _, u := range stats {
		if string(u.PodUID) != p.PodRef.UID {
			continue
		}
		at := metav1.NewTime(u.Time)
		p.Containers = append(p.Containers, stream.ContainerStats{
			Name: u.Container, StartTime: p.StartTime, CPU: stream.CPU(at, u.CPUNanoTotal, u.CPUNano), Memory: stream.Memory(at, u.MemoryBytes),
			RootFS: &stream.FSStats{Time: at, UsedBytes: &u.DiskUsedBytes},
		})
		if m.Tree != nil {
			if used, limit, ok := m.Tree.SwapUsage(pod, u.ContainerID); ok {
				s := stream.Swap(at, used, limit)
				p.Containers[len(p.Containers)-1].Swap, p.Swap = s, p.Swap.Add(s)
			}
		}
		cpu, cpuNow, memory = cpu+u.CPUNanoTotal, cpuNow+u.CPUNano, memory+u.MemoryBytes
	}
	p.CPU, p.Memory = stream.CPU(now, cpu, cpuNow), stream.Memory(now, memory)
}
