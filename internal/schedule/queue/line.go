package queue

import (
	"cmp"
	"container/heap"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/share"
)

// Pod is a pod without a node.
type Pod struct {
	Key     object.Key
	UID     types.UID
	Created int64 // in seconds
	Class   uint64
	Gated   bool
	Told    bool // its condition says why it waits

	line *Line // nil: it is gated
	at   int   // in the line
}

// Line returns where the pod stands; nil: it is gated, or has left.
func (p *Pod) Line() *Line {
	if p == nil {
		return nil
	}
	return p.line
}

// Own reports whether the pod has a line of its own.
func (p *Pod) Own() bool { return p != nil && p.line != nil && p.line.Own }

func (p *Pod) compare(o *Pod) int {
	return cmp.Or(cmp.Compare(p.Created, o.Created), p.Key.Compare(o.Key))
}

// Line is the pods of one class that wait, the oldest first.
//
//	new ──► ready ◄───────────── knocking
//	          │  no node takes it    ▲
//	          └──► shut ─────────────┘ something has got better for it
type Line struct {
	Class    uint64
	Priority int32
	Accepted bool // they are of a framework, which was lent the room for them
	Tenant   *share.Node
	Demand   object.Demand // of one pod; of a gang what each has at least
	Sum      object.Demand // of those that go at once: one pod, or a gang
	Gang     bool          // its pods go together, and room may be kept for them
	Own      bool          // it is of one pod, for which room is kept
	// Anything: its pods look at more than a node at a time, so that any change may let them in.
	Anything bool
	// Anchor is a label, key=value, that a node must have, or its name behind "@"; empty: none stands out.
	Anchor string

	pods    pods
	stage   stage
	tried   bool   // no node took one since it was last asked with success
	knocked uint64 // the step in which it knocked
	why     string // no node took one
	untold  []*Pod
	telling bool
	late    bool // it is to be compared with all nodes
	seats   [2]seat
}

type stage uint8

const (
	ready stage = iota
	knocking
	shut
)

// First returns the oldest pod; nil: the line has ended.
func (l *Line) First() *Pod {
	if len(l.pods) == 0 {
		return nil
	}
	return l.pods[0]
}

// Len returns how many stand in the line.
func (l *Line) Len() int { return len(l.pods) }

// Shut reports whether no node takes a pod of the line, as far as is known.
func (l *Line) Shut() bool { return l.stage == shut }

// Why returns what was said when the line was shut.
func (l *Line) Why() string { return l.why }

// Oldest returns the n oldest in order, or all where they are fewer.
func (l *Line) Oldest(n int) []*Pod {
	if n = min(n, len(l.pods)); n == len(l.pods) {
		return slices.SortedFunc(slices.Values(l.pods), (*Pod).compare)
	}
	out := make([]*Pod, 0, n)
	for range n {
		out = append(out, heap.Pop(&l.pods).(*Pod))
	}
	for _, p := range out {
		heap.Push(&l.pods, p)
	}
	return out
}

// Placed notes that a node took a pod of the line.
func (l *Line) Placed() { l.tried = false }

// compare orders lines by the age of their oldest; those that have ended come first.
func (l *Line) compare(o *Line) int {
	if len(l.pods) == 0 || len(o.pods) == 0 {
		return cmp.Compare(len(l.pods), len(o.pods))
	}
	return l.pods[0].compare(o.pods[0])
}

// ranks orders lines by what comes before any share: priority, then what frameworks were lent room for.
func (l *Line) ranks(o *Line) int {
	if c := cmp.Compare(o.Priority, l.Priority); c != 0 || l.Accepted == o.Accepted {
		return c
	}
	if l.Accepted {
		return -1
	}
	return 1
}

// pods is a heap, the oldest first.
type pods []*Pod

// Len implements heap.Interface.
func (p pods) Len() int { return len(p) }

// Less implements heap.Interface.
func (p pods) Less(i, j int) bool { return p[i].compare(p[j]) < 0 }

// Swap implements heap.Interface.
func (p pods) Swap(i, j int) {
	p[i], p[j] = p[j], p[i]
	p[i].at, p[j].at = i, j
}

// Push implements heap.Interface.
func (p *pods) Push(x any) {
	one := x.(*Pod)
	one.at = len(*p)
	*p = append(*p, one)
}

// Pop implements heap.Interface.
func (p *pods) Pop() any {
	old := *p
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*p = old[:len(old)-1]
	return last
}

// lines is a heap, by the order that is given.
type lines struct {
	list []*Line
	less func(a, b *Line) int
}

// Len implements heap.Interface.
func (k *lines) Len() int { return len(k.list) }

// Less implements heap.Interface.
func (k *lines) Less(i, j int) bool { return k.less(k.list[i], k.list[j]) < 0 }

// Swap implements heap.Interface.
func (k *lines) Swap(i, j int) { k.list[i], k.list[j] = k.list[j], k.list[i] }

// Push implements heap.Interface.
func (k *lines) Push(x any) { k.list = append(k.list, x.(*Line)) }

// Pop implements heap.Interface.
func (k *lines) Pop() any {
	last := k.list[len(k.list)-1]
	k.list[len(k.list)-1] = nil
	k.list = k.list[:len(k.list)-1]
	return last
}

// knocksFirst orders lines that knock: by priority, then who knocked first, then by age.
func knocksFirst(a, b *Line) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.knocked, b.knocked), a.compare(b))
}
