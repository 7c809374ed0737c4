package view

import (
	"bufio"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	corev1 "k8s.io/api/core/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Usage returns what the container uses by its node's summary, and what it used before: at
// the time of last, which may be nil, or a second before where the node knows how fast it
// goes.
func (c *Container) Usage(sum *stats.Summary, at time.Time, node *corev1.Node, last *container.StatsResponse) *container.StatsResponse {
	out := &container.StatsResponse{ID: c.ID, Name: "/" + c.Name, OSType: "linux", Read: at.UTC()}
	cpus := uint64(max(node.Status.Capacity.Cpu().Value(), 1))
	out.MemoryStats.Limit = uint64(node.Status.Capacity.Memory().Value())
	if limit := c.Spec.Resources.Limits.Memory(); !limit.IsZero() {
		out.MemoryStats.Limit = uint64(limit.Value())
	}
	i := slices.IndexFunc(sum.Pods, func(p stats.PodStats) bool { return p.PodRef.UID == string(c.Pod.UID) })
	if i < 0 {
		return out // it has just begun
	}
	pod := &sum.Pods[i]
	j := slices.IndexFunc(pod.Containers, func(s stats.ContainerStats) bool { return s.Name == c.Spec.Name })
	if j < 0 {
		return out
	}
	of := &pod.Containers[j]
	if m := of.Memory; m != nil && m.WorkingSetBytes != nil {
		out.MemoryStats.Usage = *m.WorkingSetBytes
	}
	if n := pod.Network; n != nil && n.RxBytes != nil && n.TxBytes != nil {
		out.Networks = map[string]container.NetworkStats{"eth0": {RxBytes: *n.RxBytes, TxBytes: *n.TxBytes}}
	}
	if of.CPU == nil || of.CPU.UsageCoreNanoSeconds == nil {
		return out
	}
	// What all of the machine's processors could have done since the pod was made.
	out.CPUStats = container.CPUStats{OnlineCPUs: uint32(cpus), SystemUsage: cpus * uint64(max(at.Sub(c.Pod.CreationTimestamp.Time), 0))}
	out.CPUStats.CPUUsage.TotalUsage = *of.CPU.UsageCoreNanoSeconds
	switch rate := of.CPU.UsageNanoCores; {
	case rate != nil:
		out.PreRead, out.PreCPUStats = out.Read.Add(-time.Second), out.CPUStats
		out.PreCPUStats.CPUUsage.TotalUsage -= min(*rate, out.CPUStats.CPUUsage.TotalUsage)
		out.PreCPUStats.SystemUsage -= min(cpus*uint64(time.Second), out.CPUStats.SystemUsage)
	case last != nil:
		out.PreRead, out.PreCPUStats = last.Read, last.CPUStats
	}
	return out
}

// Processes reads what a ps says: a line of titles, and one a process.
func Processes(said string) container.TopResponse {
	out := container.TopResponse{Processes: [][]string{}}
	lines := bufio.NewScanner(strings.NewReader(said))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch n := len(out.Titles); {
		case n == 0:
			out.Titles = fields
		case len(fields) >= n:
			out.Processes = append(out.Processes, append(fields[:n-1:n-1], strings.Join(fields[n-1:], " ")))
		}
	}
	return out
}
