package cgroup

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/object"
	"trireme/internal/runtime"
)

// The kernel's terms, as the kubelet uses them (Kubernetes, "Resource Management
// for Pods and Containers").
const (
	sharesMin    = 2
	sharesMax    = 262144
	sharesPerCPU = 1024
	periodMicros = 100000
	quotaMin     = 1000
)

// The OOM scores by quality of service (Kubernetes, "Node-pressure Eviction").
const (
	oomGuaranteed = -997
	oomBestEffort = 1000
)

// Node is what the limits of burstable pods' containers depend on beside the pod.
type Node struct {
	MemoryBytes int64
	Swap        Swap
}

// Container returns the limits of one container of the pod.
func Container(pod *corev1.Pod, c *corev1.Container, node Node) runtime.Resources {
	r := limits(c.Resources.Requests, c.Resources.Limits)
	r.OOMScoreAdj = oomScore(pod, c, node.MemoryBytes)
	node.Swap.limit(&r, node.Swap.of(pod, c, node.MemoryBytes))
	r.HugePages = hugePages(c.Resources.Limits)
	return r
}

// Pod returns the limits of the pod as a whole: the sum of what its containers
// ask for, and no memory or CPU limit where a container has none.
func Pod(pod *corev1.Pod) runtime.Resources {
	total := object.Requests(pod)
	r := runtime.Resources{CPUShares: shares(total.Cpu().MilliValue()), HugePages: hugePages(total)}
	cpu, memory, cpuAll, memoryAll := int64(0), int64(0), true, true
	for i := range pod.Spec.Containers {
		l := pod.Spec.Containers[i].Resources.Limits
		cpu, cpuAll = cpu+l.Cpu().MilliValue(), cpuAll && !l.Cpu().IsZero()
		memory, memoryAll = memory+l.Memory().Value(), memoryAll && !l.Memory().IsZero()
	}
	var cpuInit, memoryInit int64
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		l := c.Resources.Limits
		cpuAll, memoryAll = cpuAll && !l.Cpu().IsZero(), memoryAll && !l.Memory().IsZero()
		if Sidecar(c) {
			cpu, memory = cpu+l.Cpu().MilliValue(), memory+l.Memory().Value()
			continue
		}
		cpuInit, memoryInit = max(cpuInit, l.Cpu().MilliValue()), max(memoryInit, l.Memory().Value())
	}
	cpu, memory = max(cpu, cpuInit), max(memory, memoryInit)
	if whole := pod.Spec.Resources; whole != nil { // what is said of the pod itself wins
		if q, ok := whole.Limits[corev1.ResourceCPU]; ok {
			cpu, cpuAll = q.MilliValue(), true
		}
		if q, ok := whole.Limits[corev1.ResourceMemory]; ok {
			memory, memoryAll = q.Value(), true
		}
	}
	if cpuAll {
		r.CPUQuota, r.CPUPeriod = quota(cpu+pod.Spec.Overhead.Cpu().MilliValue()), periodMicros
	}
	if memoryAll {
		r.MemoryBytes = memory + pod.Spec.Overhead.Memory().Value()
	}
	return r
}

// hugePages returns the limits of huge pages, which nobody has more of than he asks
// for, by page size as the kernel writes it.
func hugePages(list corev1.ResourceList) map[string]int64 {
	var out map[string]int64
	for name, q := range list {
		size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
		if !ok {
			continue
		}
		page, err := resource.ParseQuantity(size)
		if err != nil {
			continue // refused before
		}
		if out == nil {
			out = map[string]int64{}
		}
		out[pageName(page.Value())] = q.Value()
	}
	return out
}

// pageName writes a size as the kernel's files of huge pages do.
func pageName(bytes int64) string {
	unit := 0
	for ; bytes >= 1024 && bytes%1024 == 0 && unit < 3; unit++ {
		bytes /= 1024
	}
	return strconv.FormatInt(bytes, 10) + []string{"B", "KB", "MB", "GB"}[unit]
}

// Sidecar reports whether an init container goes on beside the others.
func Sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func limits(requests, limit corev1.ResourceList) runtime.Resources {
	cpu := requests.Cpu().MilliValue()
	if _, ok := requests[corev1.ResourceCPU]; !ok {
		cpu = limit.Cpu().MilliValue()
	}
	r := runtime.Resources{CPUShares: shares(cpu), MemoryBytes: limit.Memory().Value()}
	if l := limit.Cpu().MilliValue(); l > 0 {
		r.CPUQuota, r.CPUPeriod = quota(l), periodMicros
	}
	return r
}

func shares(milli int64) int64 { return min(max(milli*sharesPerCPU/1000, sharesMin), sharesMax) }

func quota(milli int64) int64 { return max(milli*periodMicros/1000, quotaMin) }

func oomScore(pod *corev1.Pod, c *corev1.Container, memoryBytes int64) int64 {
	switch object.QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return oomGuaranteed
	case corev1.PodQOSBestEffort:
		return oomBestEffort
	}
	if memoryBytes <= 0 {
		return oomBestEffort - 1
	}
	// The more of the node a container asked for, the later it goes; never
	// before a guaranteed one, never after a best-effort one.
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/memoryBytes
	return min(max(score, 1000+oomGuaranteed), oomBestEffort-1)
}
