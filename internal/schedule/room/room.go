// Package room is the account of a node: what it has, what of that is taken, and by how many. The
// scheduler's cell and the offers are made of it, so that both mean the same by what is free.
//
// It is pure. A Room belongs to one loop.
package room

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/share"
)

// Room is what a node has and what of it is taken.
type Room struct {
	Can     object.Demand // what it can give
	CanPods int64
	Used    object.Demand
	Pods    int64
	Ports   map[object.HostPort]int // that pods bind
}

// Of returns the room of a node of which nobody took anything.
func Of() Room { return Room{Ports: map[object.HostPort]int{}} }

// Has takes in what the node's row says that it can give.
func (r *Room) Has(n *corev1.Node) { r.Can, r.CanPods = object.CapacityOf(n.Status.Allocatable) }

// Count counts a pod in (sign 1) or out (sign -1).
func (r *Room) Count(d object.Demand, ports []object.HostPort, sign int64) {
	r.Used = share.Plus(r.Used, d, sign)
	r.Pods += sign
	for _, p := range ports {
		if r.Ports[p] += int(sign); r.Ports[p] == 0 {
			delete(r.Ports, p)
		}
	}
}

// Bound reports whether the port is taken: any address clashes with every one.
func (r *Room) Bound(p object.HostPort) bool {
	for have := range r.Ports {
		if have.Clashes(p) {
			return true
		}
	}
	return false
}

// Left returns what is not taken; less than nothing where more is taken than there is.
func (r *Room) Left() object.Demand { return share.Plus(r.Can, r.Used, -1) }

// Lacks returns the names of what the room has too little of for a pod more, in order.
func (r *Room) Lacks(d object.Demand) (names []string) {
	if r.Pods+1 > r.CanPods {
		names = append(names, "pods")
	}
	for _, c := range []struct {
		name            string
		want, used, can int64
	}{
		{"cpu", d.CPUMilli, r.Used.CPUMilli, r.Can.CPUMilli},
		{"memory", d.MemoryBytes, r.Used.MemoryBytes, r.Can.MemoryBytes},
		{"ephemeral-storage", d.EphemeralBytes, r.Used.EphemeralBytes, r.Can.EphemeralBytes},
	} {
		if c.want > 0 && c.want > c.can-c.used {
			names = append(names, c.name)
		}
	}
	for name, want := range d.Extended {
		if want > r.Can.Extended[name]-r.Used.Extended[name] {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

// Short returns which part of the demand, and of a place for a pod, there is no room for; the parts of all resources together.
func (r *Room) Short(d object.Demand) (by float64) {
	add := func(want, free int64) {
		if want > 0 && want > free {
			by += float64(want-max(0, free)) / float64(want)
		}
	}
	add(1, r.CanPods-r.Pods)
	add(d.CPUMilli, r.Can.CPUMilli-r.Used.CPUMilli)
	add(d.MemoryBytes, r.Can.MemoryBytes-r.Used.MemoryBytes)
	add(d.EphemeralBytes, r.Can.EphemeralBytes-r.Used.EphemeralBytes)
	for name, want := range d.Extended {
		add(want, r.Can.Extended[name]-r.Used.Extended[name])
	}
	return by
}

// Clone returns a copy to count pods in and out of.
func (r Room) Clone() Room {
	r.Ports = maps.Clone(r.Ports)
	return r
}
