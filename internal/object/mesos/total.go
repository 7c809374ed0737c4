package mesos

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
)

// defaultPorts are those of agents that name none (Mesos, --resources).
var defaultPorts = resource.Resource{Name: resource.Ports, Kind: resource.Ranges, Ranges: []resource.Range{{Begin: 31000, End: 32000}}}

// Total is what an agent has, by reservation: what its node gives, what the Agent says beside or
// instead, and of all that what is reserved. A nil node gives nothing. What cannot be read of
// the Agent does not count: the door and the loops have checked it.
func Total(n *corev1.Node, a *Agent) resource.List {
	var out resource.List
	if n != nil {
		out = resource.Capacity(n.Status.Allocatable)
	}
	for _, r := range readable(a.Spec.Resources) {
		switch {
		case r.Volume != nil: // a disk of its own
		case r.Reserved() && r.Kind == resource.Scalar:
			out = out.Minus(resource.List{r}.Unreserve())
		default:
			out = out.Where(func(have *resource.Resource) bool { return have.Name != r.Name || have.Reserved() })
		}
		out = out.Plus(resource.List{r})
	}
	if len(out.Ports()) == 0 {
		out = out.Plus(resource.List{defaultPorts})
	}
	for _, r := range readable(a.Spec.Reserved) {
		out = out.Minus(resource.List{Origin(r)}).Plus(resource.List{r})
	}
	return out
}

// Origin is what a dynamic reservation, or a volume, was made of: what the agent had before.
func Origin(r resource.Resource) resource.Resource {
	r.Shared = false
	if v := r.Volume; v != nil {
		r.Volume = nil
		if v.Source.Kind != resource.RootDisk {
			r.Volume = &resource.Volume{Source: v.Source}
		}
	}
	for r.Dynamic() {
		r.Reservations = r.Reservations[:len(r.Reservations)-1]
	}
	if len(r.Reservations) == 0 {
		r.Reservations = nil
	}
	return r
}

// Beside returns the scalars that the Agent says its node has and that the node's row does not know.
func Beside(n *corev1.Node, a *Agent) (d object.Demand) {
	if n == nil || a == nil {
		return d
	}
	for _, r := range append(readable(a.Spec.Resources), readable(a.Spec.Reserved)...) {
		switch r.Name {
		case resource.CPUs, resource.Mem, resource.Disk, resource.GPUs:
			continue
		}
		name, one := resource.Name(r.Name)
		if _, known := n.Status.Allocatable[name]; known || r.Kind != resource.Scalar || r.Dynamic() {
			continue
		}
		if d.Extended == nil {
			d.Extended = map[corev1.ResourceName]int64{}
		}
		d.Extended[name] += r.Scalar / one
	}
	return d
}

func readable(all []Message[*mesosv1.Resource]) resource.List {
	if len(all) == 0 {
		return nil
	}
	raw := make([]*mesosv1.Resource, len(all))
	for i := range all {
		raw[i] = all[i].M
	}
	list, err := resource.From("resources", raw)
	if err != nil {
		return nil
	}
	return list
}
