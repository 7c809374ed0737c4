package object

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Demand is what a pod takes of a node, as numbers. Treat Extended as shared.
type Demand struct {
	CPUMilli       int64
	MemoryBytes    int64
	EphemeralBytes int64
	Extended       map[corev1.ResourceName]int64 // nil: none
}

// DemandOf returns what the pod takes of a node: what it asks for, what its node
// has given it and what limits it, whichever is most while they differ
// (Kubernetes, "Resize CPU and Memory Resources assigned to Containers"). What its
// node will never give it does not count.
func DemandOf(p *corev1.Pod) Demand {
	if !resizing(p) {
		return SpecDemand(p)
	}
	given := func(c *corev1.Container) corev1.ResourceList {
		if st := containerStatus(p, c.Name); st != nil && st.AllocatedResources != nil {
			return st.AllocatedResources
		}
		return c.Resources.Requests
	}
	has := func(c *corev1.Container) corev1.ResourceList {
		if st := containerStatus(p, c.Name); st != nil && st.Resources != nil && st.Resources.Requests != nil {
			return st.Resources.Requests
		}
		return given(c)
	}
	d := demandBy(p, given).max(demandBy(p, has))
	if c := PodCondition(p, corev1.PodResizePending); c != nil && c.Reason == corev1.PodReasonInfeasible {
		return d
	}
	return d.max(SpecDemand(p))
}

// SpecDemand returns what the pod asks of a node: the larger of what its init
// containers need one by one, beside the sidecars that started before them, and
// what its containers and sidecars need together (Kubernetes, "Resource sharing
// within containers"), plus its overhead. Pod-level requests win where they are
// set.
func SpecDemand(p *corev1.Pod) Demand {
	return demandBy(p, func(c *corev1.Container) corev1.ResourceList { return c.Resources.Requests })
}

// resizing reports whether the status speaks of other requests than the spec.
func resizing(p *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			st := containerStatus(p, list[i].Name)
			if st == nil {
				continue
			}
			asked := list[i].Resources.Requests
			if st.AllocatedResources != nil && !equal(st.AllocatedResources, asked) ||
				st.Resources != nil && st.Resources.Requests != nil && !equal(st.Resources.Requests, asked) {
				return true
			}
		}
	}
	return false
}

func equal(a, b corev1.ResourceList) bool {
	return maps.EqualFunc(a, b, func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 })
}

// containerStatus returns the status of the pod's container, or init container, of
// the name; nil: it has none.
func containerStatus(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func demandBy(p *corev1.Pod, requests func(*corev1.Container) corev1.ResourceList) Demand {
	var sum, sidecars, peak Demand
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		d := demandOf(requests(c))
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
		sum = sum.plus(demandOf(requests(&p.Spec.Containers[i])))
	}
	d := sum.max(peak)
	if r := p.Spec.Resources; r != nil {
		for name := range r.Requests {
			d = d.with(name, demandOf(r.Requests))
		}
	}
	return d.plus(demandOf(p.Spec.Overhead))
}

// Equal reports whether both are the same.
func (d Demand) Equal(o Demand) bool {
	return d.CPUMilli == o.CPUMilli && d.MemoryBytes == o.MemoryBytes && d.EphemeralBytes == o.EphemeralBytes && maps.Equal(d.Extended, o.Extended)
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
