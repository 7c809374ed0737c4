package cgroup

import (
	corev1 "k8s.io/api/core/v1"

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

// Container returns the limits of one container of the pod. memoryBytes is the
// node's memory, for the OOM score of burstable pods.
func Container(pod *corev1.Pod, c *corev1.Container, memoryBytes int64) runtime.Resources {
	r := limits(c.Resources.Requests, c.Resources.Limits)
	r.OOMScoreAdj = oomScore(pod, c, memoryBytes)
	return r
}

// Pod returns the limits of the pod as a whole: the sum of what its containers
// ask for, and no memory or CPU limit where a container has none.
func Pod(pod *corev1.Pod) runtime.Resources {
	total := object.Requests(pod)
	r := runtime.Resources{CPUShares: shares(total.Cpu().MilliValue())}
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
	if cpuAll {
		r.CPUQuota, r.CPUPeriod = quota(max(cpu, cpuInit)), periodMicros
	}
	if memoryAll {
		r.MemoryBytes = max(memory, memoryInit)
	}
	return r
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
