package gang

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/schedule/queue"
	"trireme/internal/share"
)

// Member is a pod of a gang that waits.
type Member struct {
	*queue.Pod
	Row    *corev1.Pod
	Kind   uint64 // the class that it would be of alone
	Demand object.Demand
}

// Sort puts the members that are the largest part of the total first, so that small ones do not take their room; others stay as they
// are.
func Sort(list []Member, total object.Demand) {
	part := func(d object.Demand) float64 {
		return max(float64(d.CPUMilli)/float64(max(1, total.CPUMilli)), float64(d.MemoryBytes)/float64(max(1, total.MemoryBytes)))
	}
	slices.SortStableFunc(list, func(a, b Member) int { return cmp.Compare(part(b.Demand), part(a.Demand)) })
}

// Tell tells the gang's line what may let it in: a node that has room for the least of any, where all of the first that go together
// have room. of makes the line of a pod alone.
func (g *Group) Tell(l *queue.Line, list []Member, of func(*corev1.Pod) *queue.Line) {
	var demands []object.Demand
	l.Sum, l.Anchor, l.Anything = object.Demand{}, "", false
	for i, m := range list {
		demands = append(demands, m.Demand)
		if i < g.Need() {
			l.Sum = share.Plus(l.Sum, m.Demand, 1)
		}
		alone := of(m.Row)
		if l.Anything = l.Anything || alone.Anything; i == 0 {
			l.Anchor = alone.Anchor
		} else if l.Anchor != alone.Anchor {
			l.Anchor = ""
		}
	}
	l.Demand = Least(demands)
}
