package schedule

import (
	"math"
)

// spot is what most looks at a node need to know of it. A cache line of it decides, for most nodes of most
// looks, that another is better.
type spot struct {
	version    uint64 // moves with every change of the node; no two nodes have had the same
	cpuUsed    int64
	cpuCan     int64
	memoryUsed int64
	memoryCan  int64
	pods       int64
	podsCan    int64
	crowded    bool // others than its pods have room on it: kept, lent or reserved
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
		c.list, c.spots = append(c.list, n), append(c.spots, spot{})
	}
	c.touch(n)
}

// unseat takes the slot from a node that is forgotten.
func (c *cell) unseat(n *node) {
	c.list[n.slot], c.spots[n.slot] = nil, spot{version: c.tick()}
	c.free = append(c.free, n.slot)
}

// touch notes that a node has changed.
func (c *cell) touch(n *node) {
	if c.list[n.slot] != n {
		return // forgotten
	}
	c.spots[n.slot] = spot{
		version: c.tick(),
		cpuUsed: n.Used.CPUMilli, cpuCan: n.Can.CPUMilli, memoryUsed: n.Used.MemoryBytes, memoryCan: n.Can.MemoryBytes, pods: n.Pods, podsCan: n.CanPods,
		crowded: len(n.nominated)+len(n.lent)+len(n.kept) > 0,
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
}

func (cl *class) look(c *cell) *look {
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
	s, d := &l.cell.spots[i], &l.demand
	if s.pods >= s.podsCan || d.CPUMilli > 0 && d.CPUMilli > s.cpuCan-s.cpuUsed || d.MemoryBytes > 0 && d.MemoryBytes > s.memoryCan-s.memoryUsed {
		return refused
	}
	p := l.roomPoints(s)
	if l.kin != nil {
		p -= spreadPoints * l.kin[i]
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
	if l.cell.spots[n.slot].crowded && len(l.refusals(n)) > 0 || l.special && !l.passes(n) {
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

// try compares the slot's node with the best so far.
func (l *look) try(i int32) {
	points := l.numbers(i)
	if points == refused {
		return
	}
	n := l.cell.list[i]
	if l.near != nil {
		g := l.group(n)
		if g == refused {
			return
		}
		points += g
	}
	if l.best != nil && (points+l.most < l.points || points+l.most == l.points && n.name > l.best.name) {
		return
	}
	more := l.rest(n)
	if more == refused {
		return
	}
	if points += more; l.best == nil || points > l.points || points == l.points && n.name < l.best.name {
		l.best, l.points = n, points
	}
}

// scan looks at all nodes once; nil: none takes a pod of the class.
func (cl *class) scan(c *cell) *node {
	l := cl.look(c)
	for i := range c.spots {
		l.try(int32(i))
	}
	return l.best
}

// scanImproved is scan of the nodes that have got better since the class last looked.
func (cl *class) scanImproved(c *cell) *node {
	l := cl.look(c)
	for _, n := range c.improved[cl.mark-c.base:] {
		if c.list[n.slot] == n {
			l.try(n.slot)
		}
	}
	return l.best
}
