package queue

import (
	"cmp"
	"iter"
	"maps"
	"math/bits"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/share"
)

const (
	// checksMax is how often a step compares a line that is shut with a node that has got better.
	checksMax = 20_000
	// boundMax is how many lines a step compares with limits and guarantees.
	boundMax = 1000
	// ExactLooks is how many lines times nodes a step looks at anew whenever anything has got better, so
	// that what they say is exact; above that they are looked at one after the other, so many nodes a
	// reviewEvery.
	ExactLooks  = 512
	reviewLooks = 20_000
	reviewEvery = time.Second
)

// Cell is what the queue needs to know of the nodes.
type Cell interface {
	// Mark moves when a node has got better, Clock when any has changed.
	Mark() int
	Clock() uint64
	// Improved returns the nodes that have got better since the mark, each once, in an order that depends on nothing else.
	Improved(since int) []Node
	Nodes() iter.Seq[Node]
	// Lowest returns the lowest priority of a pod with a node.
	Lowest() int64
	// Bound says which limit or guarantee speaks against a pod more of the line; empty: none.
	Bound(*Line) string
	// Moved reports, once, whether Bound may say something else than it did.
	Moved() bool
}

// Node is a node as the queue sees it.
type Node interface {
	Name() string
	Row() *corev1.Node // nil: it is gone
	// Whole is what it has with nobody on it, Left what it has now, and LeftFor what it will have for a pod of the line once those
	// have left that are leaving and those have come for whom room is kept.
	Whole() object.Demand
	Left() object.Demand
	LeftFor(*Line) object.Demand
	// Places is how many pods more it may have.
	Places() int64
	// Keeps returns the pods for which room is kept.
	Keeps() iter.Seq[object.Key]
}

// Obstacle is what keeps a line out.
type Obstacle uint8

const (
	// Nodes refuse it, for their rows or their room.
	Nodes Obstacle = iota
	// Rows of all nodes refuse it.
	Rows
	// Bounds of tenants do.
	Bounds
	// Other things do.
	Other
	// Members that it waits for do: who brings them knocks.
	Members
)

// seat is a line's place in a row of lines.
type seat struct {
	in *row
	at int
}

// row is lines that the same may let in.
type row struct{ lines []*Line }

func (r *row) add(l *Line, which int) {
	l.seats[which] = seat{r, len(r.lines)}
	r.lines = append(r.lines, l)
}

// AnchorOf returns the anchor of a line of such pods: a label that they demand of their node, or its name.
func AnchorOf(s *corev1.PodSpec, only string) string {
	switch a := s.Affinity; {
	case only != "":
		return "@" + only
	case len(s.NodeSelector) > 0:
		key := slices.Min(slices.Collect(maps.Keys(s.NodeSelector)))
		return key + "=" + s.NodeSelector[key]
	case a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil:
		return soleLabel(a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms)
	}
	return ""
}

// soleLabel returns the label that all the terms demand where they are one and it demands one.
func soleLabel(terms []corev1.NodeSelectorTerm) string {
	if len(terms) != 1 {
		return ""
	}
	for _, e := range terms[0].MatchExpressions {
		if e.Operator == corev1.NodeSelectorOpIn && len(e.Values) == 1 {
			return e.Key + "=" + e.Values[0]
		}
	}
	return ""
}

// wakers finds the lines that something may let in, without looking at the others.
type wakers struct {
	mark     int                     // of the cell, when it was last looked at
	clock    uint64                  // likewise
	known    map[string]*corev1.Node // nodes' rows, as they were then
	anything row
	bound    row
	toCheck  int             // of the bound ones, since anything moved for them
	frames   map[string]*row // by anchor: for rows of nodes that change
	rooms    map[size]*row   // by the resource that the line lacks most: for room that gets free
	lates    []*Line
	exact    int       // as New says
	reviewed int       // the mark when the last review began
	round    []*Line   // of it, those to come
	due      time.Time // no review before
	// What the freest nodes have: left, and with nobody on them; measured in a step once.
	measured    uint64
	left, whole object.Demand
	lowest      int64 // priority of a pod with a node
}

// size is a resource, and a class of amounts of it: what is in a higher one is more.
type size struct {
	name  corev1.ResourceName
	level int
}

func (s size) compare(o size) int {
	return cmp.Or(cmp.Compare(s.name, o.name), cmp.Compare(s.level, o.level))
}

func newWakers(exact int) wakers {
	return wakers{exact: exact, known: map[string]*corev1.Node{}, frames: map[string]*row{}, rooms: map[size]*row{}}
}

// levelOf returns the class of an amount: four to each power of two.
func levelOf(n int64) int {
	if n < 4 {
		return int(max(n, 0))
	}
	high := bits.Len64(uint64(n)) - 1
	return 4*(high-1) + int(n>>(high-2))&3
}

func seatIn[K comparable](rows map[K]*row, key K, l *Line, which int) {
	r := rows[key]
	if r == nil {
		r = &row{}
		rows[key] = r
	}
	r.add(l, which)
}

// sit seats a line that is shut where what may let it in finds it.
func (k *wakers) sit(l *Line, by Obstacle) {
	switch {
	case by == Members:
	case by == Bounds:
		k.bound.add(l, 0)
	case by == Other || l.Anything:
		k.anything.add(l, 0)
	default:
		seatIn(k.frames, l.Anchor, l, 0)
		if by == Nodes {
			seatIn(k.rooms, k.scarcest(l), l, 1)
		}
	}
}

// rise takes the line from its seats.
func (l *Line) rise() {
	for which, s := range l.seats {
		if s.in == nil {
			continue
		}
		last := len(s.in.lines) - 1
		moved := s.in.lines[last]
		s.in.lines[s.at], s.in.lines[last] = moved, nil
		s.in.lines = s.in.lines[:last]
		moved.seats[which].at = s.at
		l.seats[which] = seat{}
	}
	l.late = false
}

// each calls f with what a demand has of each resource.
func each(d *object.Demand, f func(name corev1.ResourceName, n int64)) {
	f(corev1.ResourceCPU, d.CPUMilli)
	f(corev1.ResourceMemory, d.MemoryBytes)
	f(corev1.ResourceEphemeralStorage, d.EphemeralBytes)
	for name, n := range d.Extended {
		f(name, n)
	}
}

// scarcest returns where among the rooms the line sits: by the resource of which it wants most, beside
// what there is of it.
func (k *wakers) scarcest(l *Line) size {
	of := k.left
	if l.below(k.lowest) {
		of = k.whole
	}
	best, part := size{name: corev1.ResourceCPU}, -1.0
	each(&l.Demand, func(name corev1.ResourceName, n int64) {
		p := float64(n) / max(float64(share.Amount(of, name)), 0.5)
		if n > 0 && (p > part || p == part && name < best.name) {
			best, part = size{name, levelOf(n)}, p
		}
	})
	return best
}

// below reports whether the line's pods may push others off a node.
func (l *Line) below(lowest int64) bool { return !l.Own && lowest < int64(l.Priority) }

// measure counts once a step what the freest nodes have.
func (k *wakers) measure(c Cell, step uint64) {
	if k.measured == step {
		return
	}
	k.measured, k.whole, k.left = step, object.Demand{}, object.Demand{}
	for n := range c.Nodes() {
		if n.Row() != nil {
			k.whole, k.left = most(k.whole, n.Whole()), most(k.left, n.Left())
		}
	}
}

// most returns the larger of each resource.
func most(a, b object.Demand) object.Demand {
	a.CPUMilli, a.MemoryBytes, a.EphemeralBytes = max(a.CPUMilli, b.CPUMilli), max(a.MemoryBytes, b.MemoryBytes), max(a.EphemeralBytes, b.EphemeralBytes)
	own := false
	for name, n := range b.Extended {
		if n <= a.Extended[name] {
			continue
		}
		if !own {
			a.Extended, own = maps.Clone(a.Extended), true
		}
		if a.Extended == nil {
			a.Extended = map[corev1.ResourceName]int64{}
		}
		a.Extended[name] = n
	}
	return a
}

// admits reports whether the node has what a pod of the line asks for, with those gone whom it may push
// off. It looks at amounts alone.
func (l *Line) admits(lowest int64, n Node) bool {
	switch {
	case n.Row() == nil:
		return false
	case l.below(lowest):
		return holds(&l.Demand, n.Whole())
	case n.Places() < 1 || !holds(&l.Demand, n.Left()):
		return false
	}
	for range n.Keeps() {
		return holds(&l.Demand, n.LeftFor(l))
	}
	return true
}

// holds reports whether there is as much of each resource as the demand has.
func holds(d *object.Demand, left object.Demand) bool {
	if d.CPUMilli > 0 && d.CPUMilli > left.CPUMilli || d.MemoryBytes > 0 && d.MemoryBytes > left.MemoryBytes || d.EphemeralBytes > 0 && d.EphemeralBytes > left.EphemeralBytes {
		return false
	}
	for name, n := range d.Extended {
		if n > left.Extended[name] {
			return false
		}
	}
	return true
}

// Wake begins a step: it lets those lines be looked at for which something may have got better. It
// returns when to look again even if nothing changes; zero: never.
func (q *Queue) Wake(c Cell, now time.Time) time.Time {
	q.step++
	q.lowest = c.Lowest()
	if c.Moved() {
		q.toCheck = len(q.bound.lines)
	}
	q.wakeBound(c)
	if q.clock != c.Clock() {
		q.clock = c.Clock()
		for len(q.anything.lines) > 0 {
			q.Knock(q.anything.lines[len(q.anything.lines)-1])
		}
	}
	if q.mark != c.Mark() {
		q.wakeFor(c.Improved(q.mark))
		q.mark = c.Mark()
	}
	q.wakeLate(c)
	next := q.review(c, now)
	q.begin()
	return next
}

// wakeFor looks for lines that the nodes may let in now.
func (q *Queue) wakeFor(nodes []Node) {
	var free, whole object.Demand
	for _, n := range nodes {
		for key := range n.Keeps() {
			if p := q.pods[key]; p.Own() || p.Line() != nil && p.line.Gang {
				q.Knock(p.line)
			}
		}
		if n.Row() == nil {
			delete(q.known, n.Name())
			continue
		}
		free, whole = most(free, n.Left()), most(whole, n.Whole())
		if q.known[n.Name()] != n.Row() {
			q.known[n.Name()] = n.Row()
			for _, l := range q.anchored(n) {
				q.Knock(l)
			}
		}
	}
	checks := checksMax
	for _, key := range slices.SortedFunc(maps.Keys(q.rooms), size.compare) {
		now, ever := levelOf(share.Amount(free, key.name)), levelOf(share.Amount(whole, key.name))
		lines := q.rooms[key].lines
		switch {
		case key.level > max(now, ever):
			continue
		case len(lines) == 0:
			delete(q.rooms, key)
			continue
		}
		for _, l := range slices.Clone(lines) {
			if l.late || key.level > now && !l.below(q.lowest) {
				continue
			}
			if checks -= len(nodes); checks < 0 {
				l.late = true
				q.lates = append(q.lates, l)
			} else if slices.ContainsFunc(nodes, func(n Node) bool { return l.admits(q.lowest, n) }) {
				q.Knock(l)
			}
		}
	}
}

// anchored returns the lines that a node whose row is new may let in.
func (k *wakers) anchored(n Node) (found []*Line) {
	look := func(anchor string) {
		r := k.frames[anchor]
		if r == nil {
			return
		}
		if len(r.lines) == 0 {
			delete(k.frames, anchor)
			return
		}
		for _, l := range r.lines {
			if l.admits(k.lowest, n) {
				found = append(found, l)
			}
		}
	}
	look("")
	look("@" + n.Name())
	for key, value := range n.Row().Labels {
		look(key + "=" + value)
	}
	return found
}

// wakeLate compares those with all nodes that there was no time for.
func (q *Queue) wakeLate(c Cell) {
	for checks := checksMax; len(q.lates) > 0 && checks > 0; {
		l := q.lates[0]
		q.lates = q.lates[1:]
		if !l.late {
			continue // it has knocked, or ended
		}
		l.late = false
		for n := range c.Nodes() {
			if checks--; l.admits(q.lowest, n) {
				q.Knock(l)
				break
			}
		}
	}
}

// wakeBound compares lines with limits and guarantees that have moved.
func (q *Queue) wakeBound(c Cell) {
	for range min(q.toCheck, boundMax) {
		q.toCheck--
		if i := q.toCheck; i < len(q.bound.lines) {
			if l := q.bound.lines[i]; c.Bound(l) != l.why {
				q.Knock(l)
			}
		}
	}
}

// review lets lines that are shut be looked at for what they say: it may no longer be so.
func (q *Queue) review(c Cell, now time.Time) time.Time {
	moved := q.reviewed != c.Mark()
	if !moved && len(q.round) == 0 || len(q.lines) == 0 || q.exact < 0 {
		return time.Time{}
	}
	nodes := 1
	for range c.Nodes() {
		nodes++
	}
	if moved && len(q.lines)*nodes <= q.exact {
		for _, l := range q.lines {
			q.Knock(l)
		}
		q.reviewed, q.round = c.Mark(), nil
		return time.Time{}
	}
	if len(q.round) == 0 {
		q.reviewed, q.round = c.Mark(), slices.SortedFunc(maps.Values(q.lines), (*Line).compare)
	}
	if !now.Before(q.due) {
		n := min(len(q.round), max(1, reviewLooks/nodes))
		for _, l := range q.round[:n] {
			q.Knock(l)
		}
		q.round, q.due = q.round[n:], now.Add(reviewEvery)
	}
	return q.due
}
