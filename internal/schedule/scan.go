package schedule

import (
	"math"
	"slices"
	"strings"

	"trireme/internal/schedule/room"
)

// spot is what most looks at a node need to know of it, in one cache line.
type spot struct {
	version uint64 // moves with every change of the node; no two nodes have had the same
	room.Spot
}

func (c *cell) tick() uint64 {
	c.clock++
	return c.clock
}

// seat gives a new node its slot.
func (c *cell) seat(n *node) {
	if last := len(c.free) - 1; last >= 0 {
		n.slot, c.free = c.free[last], c.free[:last]
		c.list[n.slot] = n
	} else {
		n.slot = int32(len(c.list))
		c.list, c.spots, c.ranks = append(c.list, n), append(c.spots, spot{}), append(c.ranks, 0)
	}
	c.unranked = true
	c.touch(n)
}

// unseat takes the slot from a node that is forgotten.
func (c *cell) unseat(n *node) {
	c.list[n.slot], c.spots[n.slot] = nil, spot{version: c.tick()}
	c.free, c.unranked = append(c.free, n.slot), true
}

// rank numbers the nodes in the order of their names.
func (c *cell) rank() {
	c.unranked, c.named = false, make([]*node, 0, len(c.nodes))
	for _, n := range c.list {
		if n != nil {
			c.named = append(c.named, n)
		}
	}
	slices.SortFunc(c.named, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	for rank, n := range c.named {
		c.ranks[n.slot] = int32(rank)
	}
}

// byName returns the nodes in the order of their names. Shared; do not change.
func (c *cell) byName() []*node {
	if c.unranked {
		c.rank()
	}
	return c.named
}

// touch notes that a node has changed.
func (c *cell) touch(n *node) {
	if c.list[n.slot] != n {
		return // forgotten
	}
	s := spot{Spot: n.Spot()}
	s.version = c.tick()
	if c.spots[n.slot] = s; c.follows {
		c.note(n.slot)
	}
}

// refused are the points of a node that does not fit.
const refused = math.MinInt64

// look is one look of a class at nodes.
type look struct {
	*class
	cell   *cell
	frame  *frame
	kin    kin
	most   int64 // points that a node may have at most beside those of room and kin
	groups []int64
	best   *node
	points int64 // of the best
	rank   int32 // of the best
}

func (cl *class) look(c *cell) *look {
	if c.unranked {
		c.rank()
	}
	l := &look{class: cl, cell: c, frame: c.frame(cl), kin: c.kin[cl.owner], most: cl.wishesMost()}
	if cl.lies {
		l.kin = nil
	}
	if cl.near != nil {
		l.groups = cl.near.groups()
	}
	return l
}

// numbers returns the points of a slot's node for its room and the kin that it has; refused: it has too little room.
// What else there is to a node costs more to ask for.
func (l *look) numbers(i int32) int64 {
	s := &l.cell.spots[i]
	if s.Pods < 1 || l.cpu > s.CPU || l.memory > s.Memory {
		return refused
	}
	p := l.roomPoints(&s.Spot)
	if l.shaped {
		p = l.shapedPoints(l.cell.list[i])
	}
	if l.kin != nil {
		p -= l.rates.kin * l.kin[i]
	}
	return p
}

// rest returns the points that were not counted by numbers, but those of the node's group; refused: it does not take the pod.
func (l *look) rest(n *node) int64 {
	if !l.asks(n) {
		return refused
	}
	p, why := l.frame.judge(l.class, n)
	if why != "" {
		return refused
	}
	if len(n.nominated)+len(n.lent)+len(n.kept) > 0 && len(l.refusals(n)) > 0 || l.special && !l.passes(n) {
		return refused
	}
	return p
}

// passes asks the rules that neither frame nor numbers answer for.
func (cl *class) passes(n *node) bool {
	for i := range rules {
		if !rules[i].row && len(rules[i].refuses(cl, n)) > 0 {
			return false
		}
	}
	return true
}

// group returns the points of the node's group; refused: none of its nodes takes the pod.
func (l *look) group(n *node) int64 {
	if l.near == nil {
		return 0
	}
	return l.groups[l.near.group(n)]
}

// try compares the slot's node, of so many points by numbers, with the best so far.
func (l *look) try(i int32, points int64) {
	n := l.cell.list[i]
	if l.near != nil {
		g := l.group(n)
		if g == refused {
			return
		}
		points += g
	}
	if l.best != nil && !l.beats(points+l.most, i) {
		return
	}
	more := l.rest(n)
	if more == refused {
		return
	}
	if points += more; l.best == nil || l.beats(points, i) {
		l.best, l.points, l.rank = n, points, l.cell.ranks[i]
	}
}

// beats reports whether a slot's node with so many points is better than the best, which there is.
func (l *look) beats(points int64, i int32) bool {
	return points > l.points || points == l.points && l.cell.ranks[i] < l.rank
}

// scan looks at all nodes once; nil: none takes a pod of the class.
func (cl *class) scan(c *cell) *node {
	l := cl.look(c)
	need := int64(refused) // fewer points by numbers are not worth a try
	for i := range c.spots {
		s := &c.spots[i]
		if s.Pods < 1 || cl.cpu > s.CPU || cl.memory > s.Memory {
			continue
		}
		points := cl.roomPoints(&s.Spot)
		if cl.shaped {
			points = cl.shapedPoints(c.list[i])
		}
		if l.kin != nil {
			points -= cl.rates.kin * l.kin[int32(i)]
		}
		if points < need || points == need && c.ranks[i] > l.rank {
			continue
		}
		if l.try(int32(i), points); l.best != nil && l.near == nil {
			need = l.points - l.most
		}
	}
	return l.best
}

// scanImproved is scan of the nodes that have got better since the class last looked.
func (cl *class) scanImproved(c *cell) *node {
	l := cl.look(c)
	for _, n := range c.improved[cl.mark-c.base:] {
		if c.list[n.slot] != n {
			continue
		}
		if points := l.numbers(n.slot); points != refused {
			l.try(n.slot, points)
		}
	}
	return l.best
}
