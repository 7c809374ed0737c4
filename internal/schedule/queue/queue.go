package queue

import (
	"container/heap"
	"iter"
	"maps"
	"slices"

	"trireme/internal/object"
	"trireme/internal/share"
)

const (
	// exactMax is how many pods of a line, the oldest, are always told why they wait as it is now. The
	// others are told once.
	exactMax = 16
	// FailuresMax is how many nodes a step may ask in vain for lines that had been asked in vain before;
	// the others wait for the next step.
	FailuresMax = 20_000
	// knocksMax is how many of those a step takes up at once.
	knocksMax = 1024
)

// Queue is all pods that wait.
type Queue struct {
	// Looks counts the lines that were looked at in vain, ever.
	Looks int

	pods    map[object.Key]*Pod
	lines   map[uint64]*Line // by class
	ready   []*Line          // to be looked at: new, or a step did not come to them
	knocks  lines            // to be looked at again
	telling []*Line          // have pods that nobody told yet why they wait
	gated   []*Pod           // likewise
	step    uint64
	turns   turns
	wakers
}

// New returns an empty queue. exact is how many lines times nodes are looked at anew whenever anything has got better:
// ExactLooks, but in tests; below 0 what lines say is not looked after at all.
func New(exact int) *Queue {
	return &Queue{
		pods: map[object.Key]*Pod{}, lines: map[uint64]*Line{}, knocks: lines{less: knocksFirst}, wakers: newWakers(exact),
	}
}

// Len returns how many pods wait.
func (q *Queue) Len() int { return len(q.pods) }

// Pod returns the pod that waits; nil: none of that key does.
func (q *Queue) Pod(key object.Key) *Pod { return q.pods[key] }

// Keys returns the keys of all pods, sorted.
func (q *Queue) Keys() []object.Key { return slices.SortedFunc(maps.Keys(q.pods), object.Key.Compare) }

// Lines returns all lines, in no order.
func (q *Queue) Lines() iter.Seq[*Line] {
	return func(yield func(*Line) bool) {
		seen := map[*Line]bool{}
		for _, p := range q.pods {
			if l := p.line; l != nil && !seen[l] {
				if seen[l] = true; !yield(l) {
					return
				}
			}
		}
	}
}

// Enter takes in a pod that waits. Where it is not gated it joins the line of its class, or the one that is
// made: the first of its class, or its own.
func (q *Queue) Enter(p *Pod, own bool, made func() *Line) {
	q.Leave(p.Key)
	q.pods[p.Key] = p
	if p.Gated {
		if !p.Told {
			q.gated = append(q.gated, p)
		}
		return
	}
	q.join(p, own, made)
}

// Move puts the pod into its class's line, or into one of its own.
func (q *Queue) Move(p *Pod, own bool, made func() *Line) {
	q.part(p)
	q.join(p, own, made)
}

func (q *Queue) join(p *Pod, own bool, made func() *Line) {
	l := q.lines[p.Class]
	if l == nil || own {
		l = made()
		l.Class, l.Own = p.Class, own
		q.ready = append(q.ready, l)
		if !own {
			q.lines[p.Class] = l
		}
	}
	p.line = l
	heap.Push(&l.pods, p)
	if !p.Told {
		l.untold = append(l.untold, p)
		if l.stage == shut {
			q.tellLater(l)
		}
	}
}

// Leave takes a pod out.
func (q *Queue) Leave(key object.Key) {
	p := q.pods[key]
	if p == nil {
		return
	}
	delete(q.pods, key)
	q.part(p)
}

// part takes the pod out of its line, which ends with its last.
func (q *Queue) part(p *Pod) {
	l := p.line
	if l == nil {
		return
	}
	heap.Remove(&l.pods, p.at)
	p.line = nil
	switch {
	case len(l.pods) == 0:
		l.untold = nil
		l.rise()
		if q.lines[l.Class] == l {
			delete(q.lines, l.Class)
		}
	case len(l.untold) > 2*len(l.pods)+64:
		l.untold = slices.DeleteFunc(l.untold, func(u *Pod) bool { return u.line != l || u.Told })
	}
}

// Knock lets a line that is shut be looked at again.
func (q *Queue) Knock(l *Line) {
	if l == nil || l.stage != shut {
		return
	}
	l.rise()
	l.stage, l.knocked = knocking, q.step
	heap.Push(&q.knocks, l)
}

// Shut notes that no node takes a pod of the line, and why, and what may let it in.
func (q *Queue) Shut(c Cell, l *Line, why string, by Obstacle) {
	q.Looks++
	l.stage, l.tried = shut, true
	if l.why != why {
		l.why = why
		for _, p := range l.Oldest(exactMax) {
			if p.Told {
				p.Told = false
				l.untold = append(l.untold, p)
			}
		}
	}
	if len(l.untold) > 0 {
		q.tellLater(l)
	}
	if len(l.pods) > 0 {
		q.measure(c, q.step)
		q.sit(l, by)
	}
}

func (q *Queue) tellLater(l *Line) {
	if !l.telling {
		l.telling = true
		q.telling = append(q.telling, l)
	}
}

// Untold calls tell with the pods that are to be told why they wait, until it returns false. It is called
// again with those that were not.
func (q *Queue) Untold(tell func(*Pod) bool) {
	for ; len(q.gated) > 0; q.gated = q.gated[1:] {
		if p := q.gated[0]; q.pods[p.Key] == p && !tell(p) {
			return
		}
	}
	for len(q.telling) > 0 {
		l := q.telling[0]
		for ; len(l.untold) > 0 && l.stage == shut; l.untold = l.untold[1:] {
			if p := l.untold[0]; p.line == l && !p.Told && !tell(p) {
				return
			}
		}
		l.telling = false
		q.telling = q.telling[1:]
	}
}

// Waits reports whether there are lines to look at, though nothing changes.
func (q *Queue) Waits() bool { return len(q.knocks.list)+len(q.lates)+q.toCheck > 0 }

// turns is the lines that a step looks at.
type turns struct {
	list  []*Line // by their ranks
	alone lines   // take turns with nobody
	by    map[*share.Node]*lines
	last  *lines // whose first line the last turn was
	off   []*Line
}

// begin takes up the lines to look at in this step.
func (q *Queue) begin() {
	list := slices.DeleteFunc(q.ready, func(l *Line) bool { return len(l.pods) == 0 || l.stage != ready })
	for n := 0; len(q.knocks.list) > 0 && n < knocksMax; {
		l := heap.Pop(&q.knocks).(*Line)
		if len(l.pods) == 0 {
			continue
		}
		l.stage = ready
		list = append(list, l)
		n++
	}
	q.ready = nil
	slices.SortStableFunc(list, (*Line).ranks)
	q.turns = turns{list: list, alone: lines{less: (*Line).compare}}
}

// Next returns the line whose oldest pod is to be placed; nil: none is left. Without again, lines that
// were asked in vain before are put off. End must follow.
func (q *Queue) Next(tree *share.Tree, again bool) *Line {
	t := &q.turns
	if t.last != nil {
		heap.Fix(t.last, 0)
	}
	for len(t.by) > 0 || len(t.alone.list) > 0 || t.gather() {
		var n *share.Node
		t.last = &t.alone
		if len(t.by) > 0 {
			n = tree.Lowest()
			t.last = t.by[n]
		}
		l := t.last.list[0]
		if len(l.pods) > 0 && l.stage == ready && (again || !l.tried) {
			return l
		}
		if heap.Pop(t.last); n != nil && len(t.last.list) == 0 {
			n.Want(false)
			delete(t.by, n)
		}
		t.off = append(t.off, l)
	}
	t.last = nil
	return nil
}

// gather takes up the lines of the next rank, by tenants; where there is one alone, and where room was
// lent, the oldest is next whose ever it is. False: there are none.
func (t *turns) gather() bool {
	if len(t.list) == 0 {
		return false
	}
	first := t.list[0]
	end, many := 1, false
	for end < len(t.list) && t.list[end].ranks(first) == 0 {
		many = many || t.list[end].Tenant != first.Tenant
		end++
	}
	of := t.list[:end]
	t.list = t.list[end:]
	if !many || first.Accepted {
		t.alone.list = append(t.alone.list[:0], of...)
		heap.Init(&t.alone)
		return true
	}
	t.by = map[*share.Node]*lines{}
	for _, l := range of {
		if t.by[l.Tenant] == nil {
			t.by[l.Tenant] = &lines{less: (*Line).compare}
			l.Tenant.Want(true)
		}
		t.by[l.Tenant].list = append(t.by[l.Tenant].list, l)
	}
	for _, b := range t.by {
		heap.Init(b)
	}
	return true
}

// End leaves no tenant wanting, and keeps for the next step what this one did not come to.
func (q *Queue) End() {
	t := &q.turns
	left := slices.Concat(t.off, t.list, t.alone.list)
	for n, b := range t.by {
		n.Want(false)
		left = append(left, b.list...)
	}
	for _, l := range left {
		switch {
		case len(l.pods) == 0 || l.stage != ready:
		case l.tried:
			l.stage = shut
			q.Knock(l)
		default:
			q.ready = append(q.ready, l)
		}
	}
	q.turns = turns{}
}
