package offer

import (
	"trireme/internal/mesos/resource"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Parts of what a node has: what is left to those who have asked for it though they do not use it,
// for they may before the next sample; and the steps in which the rest is lent, so that offers do not
// come and go with every sample.
const (
	marginPart = 10
	stepPart   = 20
)

// lends notes whether anybody takes revocable resources. Where that is something else than
// before, all nodes are counted again.
func (l *Loop) lends() {
	borrows := false
	for _, f := range l.frameworks {
		borrows = borrows || f.Has(revocableCap)
	}
	if borrows == l.borrows {
		return
	}
	l.borrows = borrows
	for name := range l.nodes {
		l.touched[name] = true
	}
}

// measure has the nodes counted again whose pods use something else than before.
func (l *Loop) measure(tx *store.Tx) {
	if l.lends(); !l.borrows {
		return
	}
	for key := range tables.PodSamples.Changed(tx) {
		if u := l.uses[key]; u != nil {
			l.touched[u.node.name] = true
		}
	}
}

// spare counts what the pods of a node have asked for and do not use, less a margin. A pod that
// was not measured twice yet uses what it has asked for; those on what others do not use do not count.
func (l *Loop) spare(tx *store.Tx, n *node) {
	if !l.borrows {
		n.spare = nil
		return
	}
	var idle object.Demand
	for key, u := range n.pods {
		s, ok := tables.PodSamples.Get(tx, key)
		if !ok || s.UID != u.uid || s.Window.Duration == 0 || u.borrowed {
			continue
		}
		idle.CPUMilli += u.demand.CPUMilli
		idle.MemoryBytes += u.demand.MemoryBytes
		for i := range s.Containers {
			idle.CPUMilli -= s.Containers[i].CPUNano / 1e6
			idle.MemoryBytes -= s.Containers[i].MemoryBytes
		}
	}
	var out resource.List
	for _, one := range []struct {
		name      string
		idle, can int64
	}{
		{resource.CPUs, idle.CPUMilli, n.Can.CPUMilli},
		{resource.Mem, resource.Megabytes(max(0, idle.MemoryBytes)), resource.Megabytes(n.Can.MemoryBytes)},
	} {
		step := max(1, one.can/stepPart)
		if steps := (one.idle - one.can/marginPart) / step; steps > 0 {
			r := resource.Of(one.name, steps*step)
			r.Revocable = true
			out = out.Plus(resource.List{r})
		}
	}
	n.spare = out
}
