package object

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// Demand is what a pod takes of a node, as numbers. Treat Extended as shared.
type Demand struct {
	CPUMilli       int64
	MemoryBytes    int64
	EphemeralBytes int64
	Extended       map[corev1.ResourceName]int64 // nil: none
}

// DemandOf returns what the pod asks of a node: the larger of what its init
// containers need one by one, beside the sidecars that started before them, and
// what its containers and sidecars need together (Kubernetes, "Resource sharing
// within containers"), plus its overhead. Pod-level requests win where they are
// set.
func DemandOf(p *corev1.Pod) Demand {
	var sum, sidecars, peak Demand
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		d := demandOf(c.Resources.Requests)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars = sidecars.plus(d)
			d = sidecars
		} else {
			d = d.plus(sidecars)
		}
		peak = peak.max(d)
	}
	sum = sidecars
	for i := range p.Spec.Containers {
		sum = sum.plus(demandOf(p.Spec.Containers[i].Resources.Requests))
	}
	d := sum.max(peak)
	if r := p.Spec.Resources; r != nil {
		for name := range r.Requests {
			d = d.with(name, demandOf(r.Requests))
		}
	}
	return d.plus(demandOf(p.Spec.Overhead))
}

func demandOf(list corev1.ResourceList) Demand {
	var d Demand
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			d.CPUMilli = q.MilliValue()
		case corev1.ResourceMemory:
			d.MemoryBytes = q.Value()
		case corev1.ResourceEphemeralStorage:
			d.EphemeralBytes = q.Value()
		case corev1.ResourcePods:
		default:
			if d.Extended == nil {
				d.Extended = map[corev1.ResourceName]int64{}
			}
			d.Extended[name] = q.Value()
		}
	}
	return d
}

// CapacityOf reads a node's resource list as numbers, and its room for pods.
func CapacityOf(list corev1.ResourceList) (Demand, int64) {
	return demandOf(list), list.Pods().Value()
}

func (d Demand) plus(o Demand) Demand {
	d.CPUMilli += o.CPUMilli
	d.MemoryBytes += o.MemoryBytes
	d.EphemeralBytes += o.EphemeralBytes
	d.Extended = merge(d.Extended, o.Extended, func(a, b int64) int64 { return a + b })
	return d
}

func (d Demand) max(o Demand) Demand {
	d.CPUMilli = max(d.CPUMilli, o.CPUMilli)
	d.MemoryBytes = max(d.MemoryBytes, o.MemoryBytes)
	d.EphemeralBytes = max(d.EphemeralBytes, o.EphemeralBytes)
	d.Extended = merge(d.Extended, o.Extended, func(a, b int64) int64 { return max(a, b) })
	return d
}

// with returns d with one resource taken from o.
func (d Demand) with(name corev1.ResourceName, o Demand) Demand {
	switch name {
	case corev1.ResourceCPU:
		d.CPUMilli = o.CPUMilli
	case corev1.ResourceMemory:
		d.MemoryBytes = o.MemoryBytes
	case corev1.ResourceEphemeralStorage:
		d.EphemeralBytes = o.EphemeralBytes
	}
	return d
}

func merge(a, b map[corev1.ResourceName]int64, f func(x, y int64) int64) map[corev1.ResourceName]int64 {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(a)
	if out == nil {
		out = map[corev1.ResourceName]int64{}
	}
	for k, v := range b {
		out[k] = f(out[k], v)
	}
	return out
}
