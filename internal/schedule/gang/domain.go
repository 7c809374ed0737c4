package gang

import (
	"cmp"
	"iter"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/share"
)

// Place is the nodes on which pods of a gang may be: those with the label. nil: all.
type Place struct{ Key, Value string }

// Has reports whether the node of that row, nil where it is not there, is one of them.
func (p *Place) Has(row *corev1.Node) bool {
	return p == nil || row != nil && row.Labels[p.Key] == p.Value
}

// Name returns the label's value; empty: the place is everywhere.
func (p *Place) Name() string {
	if p == nil {
		return ""
	}
	return p.Value
}

// At returns where the others of the group have to be if one is on the node; nil: anywhere.
func (g *Group) At(row *corev1.Node) *Place {
	if g.Topology == "" || row == nil || row.Labels[g.Topology] == "" {
		return nil
	}
	return &Place{g.Topology, row.Labels[g.Topology]}
}

// Node is a node as places see it.
type Node struct {
	Row  *corev1.Node
	Left object.Demand // that the gang may take
	Pods int64         // likewise
}

// Places returns where to try to place those who go together, which ask for sum, in that order: everywhere, or one domain of the
// topology after the other.
func (g *Group) Places(nodes iter.Seq[Node], sum object.Demand) (out []*Place) {
	if g.Topology == "" {
		return []*Place{nil}
	}
	all := map[string]*Domain{}
	var list []Domain
	for n := range nodes {
		if n.Row.Labels[g.Topology] == "" || n.Row.Spec.Unschedulable || !object.NodeReady(n.Row) {
			continue
		}
		d := all[n.Row.Labels[g.Topology]]
		if d == nil {
			d = &Domain{Value: n.Row.Labels[g.Topology]}
			all[d.Value] = d
		}
		d.Left = share.Plus(d.Left, n.Left, 1)
		d.Pods += n.Pods
	}
	for _, d := range all {
		list = append(list, *d)
	}
	for _, d := range Order(list, sum, g.Need()) {
		out = append(out, &Place{g.Topology, d.Value})
	}
	return out
}

// Domain is the nodes that share a value of a topology's label.
type Domain struct {
	Value string
	Left  object.Demand // of all its nodes
	Pods  int64         // that they may have more
}

// Order returns the domains in which as many pods may fit, which ask for sum together: the one that they leave the least of
// first. Where there are none it returns the one that comes closest, for what keeps the pods out of it.
func Order(domains []Domain, sum object.Demand, pods int) []Domain {
	filled := func(d Domain) float64 {
		most := part(int64(pods), d.Pods)
		for _, name := range asked(sum) {
			most = max(most, part(share.Amount(sum, name), share.Amount(d.Left, name)))
		}
		return most
	}
	list := slices.Clone(domains)
	slices.SortFunc(list, func(a, b Domain) int {
		return cmp.Or(cmp.Compare(filled(b), filled(a)), cmp.Compare(a.Value, b.Value))
	})
	fit := slices.IndexFunc(list, func(d Domain) bool { return filled(d) <= 1 })
	switch {
	case len(list) == 0:
		return nil
	case fit < 0:
		return list[len(list)-1:]
	}
	return list[fit:]
}

// part returns which part of what is there is asked for; of nothing it is more than all.
func part(n, of int64) float64 {
	switch {
	case n <= 0:
		return 0
	case of <= 0:
		return float64(n) + 1
	}
	return float64(n) / float64(of)
}

// asked returns the resources that the demand has something of, in an order of their own.
func asked(d object.Demand) (names []corev1.ResourceName) {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if share.Amount(d, name) > 0 {
			names = append(names, name)
		}
	}
	for name, n := range d.Extended {
		if n > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Least returns what every one of the demands has at least of each resource.
func Least(demands []object.Demand) (out object.Demand) {
	for i, d := range demands {
		if i == 0 {
			out = share.Plus(object.Demand{}, d, 1)
			continue
		}
		out.CPUMilli, out.MemoryBytes, out.EphemeralBytes = min(out.CPUMilli, d.CPUMilli), min(out.MemoryBytes, d.MemoryBytes), min(out.EphemeralBytes, d.EphemeralBytes)
		for name, n := range out.Extended {
			out.Extended[name] = min(n, d.Extended[name])
		}
	}
	return out
}
