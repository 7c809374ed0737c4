package schedule

// places are the nodes of a class, or of one of its groups, as a heap: the best first; equal ones by name, so that the same cell
// gives the same choice. A place whose version is not its node's has points that the node has no more of.
type places []place

type place struct {
	points  int64
	version uint64 // of the node when it was rated; 0: it was not, the points are the most it can have
	slot    int32
}

// heap is what a class that is asked more than once knows of the nodes.
type heap struct {
	groups []places
	// where each slot's place is: its group, and how far back there; -1: nowhere.
	group []int32
	at    []int32
}

// newHeap guesses how well each node suits the class. That costs little: the nodes are asked when they come to the top.
func newHeap(l *look) *heap {
	h := &heap{groups: make([]places, max(1, len(l.groups)))}
	h.reach(len(l.cell.spots))
	for i := range l.cell.spots {
		if pl := l.guess(int32(i)); pl.points != refused {
			g := l.groupOf(int32(i))
			h.group[i], h.at[i] = g, int32(len(h.groups[g]))
			h.groups[g] = append(h.groups[g], pl)
		}
	}
	for g := range h.groups {
		for i := len(h.groups[g])/2 - 1; i >= 0; i-- {
			h.sink(l.cell, int32(g), i)
		}
	}
	return h
}

// reach makes room for as many slots.
func (h *heap) reach(slots int) {
	for len(h.at) < slots {
		h.group, h.at = append(h.group, 0), append(h.at, -1)
	}
}

// guess returns a place with as many points as the node may have at most.
func (l *look) guess(i int32) place {
	p := l.numbers(i)
	if p != refused {
		p += l.most
	}
	return place{points: p, slot: i}
}

func (l *look) groupOf(i int32) int32 {
	if l.near == nil || l.cell.list[i] == nil {
		return 0
	}
	return l.near.group(l.cell.list[i])
}

// rate returns the place of a slot as it is.
func (l *look) rate(i int32) place {
	pl := place{points: l.numbers(i), version: l.cell.spots[i].version, slot: i}
	if pl.points == refused {
		return pl
	}
	if more := l.rest(l.cell.list[i]); more != refused {
		pl.points += more
	} else {
		pl.points = refused
	}
	return pl
}

// renew puts a slot's node, which may have got better, where it may belong now.
func (h *heap) renew(l *look, i int32) {
	pl, g := l.guess(i), l.groupOf(i)
	h.reach(len(l.cell.spots))
	if at := h.at[i]; at >= 0 && (pl.points == refused || h.group[i] != g) {
		h.remove(l.cell, h.group[i], int(at))
	}
	if pl.points == refused {
		return
	}
	for int(g) >= len(h.groups) {
		h.groups = append(h.groups, nil)
	}
	if h.at[i] < 0 {
		h.group[i], h.at[i] = g, int32(len(h.groups[g]))
		h.groups[g] = append(h.groups[g], pl)
	}
	h.put(l.cell, g, int(h.at[i]), pl)
}

// top returns the best node of a group as it is; nil: none takes a pod.
func (h *heap) top(l *look, g int32) (*node, int64) {
	for len(h.groups[g]) > 0 {
		pl := h.groups[g][0]
		if pl.version == l.cell.spots[pl.slot].version {
			return l.cell.list[pl.slot], pl.points
		}
		if pl = l.rate(pl.slot); pl.points == refused {
			h.remove(l.cell, g, 0)
		} else {
			h.put(l.cell, g, 0, pl)
		}
	}
	return nil, refused
}

// put sets the place at an index of a group.
func (h *heap) put(c *cell, g int32, i int, pl place) {
	h.groups[g][i] = pl
	if !h.rise(c, g, i) {
		h.sink(c, g, i)
	}
}

// remove takes a place out: its node does not take pods of the class before it has got better.
func (h *heap) remove(c *cell, g int32, i int) {
	p := h.groups[g]
	last := len(p) - 1
	h.at[p[i].slot] = -1
	moved := p[last]
	h.groups[g] = p[:last]
	if i < last {
		h.at[moved.slot] = int32(i)
		h.put(c, g, i, moved)
	}
}

func (c *cell) before(a, b *place) bool {
	if a.points != b.points {
		return a.points > b.points
	}
	return c.ranks[a.slot] < c.ranks[b.slot]
}

// rise moves a place towards the top; false: it stays.
func (h *heap) rise(c *cell, g int32, i int) bool {
	p, from := h.groups[g], i
	pl := p[i]
	for i > 0 {
		up := (i - 1) / 2
		if !c.before(&pl, &p[up]) {
			break
		}
		p[i] = p[up]
		h.at[p[i].slot] = int32(i)
		i = up
	}
	p[i] = pl
	h.at[pl.slot] = int32(i)
	return i != from
}

// sink moves a place away from the top.
func (h *heap) sink(c *cell, g int32, i int) {
	p := h.groups[g]
	pl := p[i]
	for {
		down := 2*i + 1
		if down >= len(p) {
			break
		}
		if right := down + 1; right < len(p) && c.before(&p[right], &p[down]) {
			down = right
		}
		if !c.before(&p[down], &pl) {
			break
		}
		p[i] = p[down]
		h.at[p[i].slot] = int32(i)
		i = down
	}
	p[i] = pl
	h.at[pl.slot] = int32(i)
}

// best returns the best node of all groups; nil: none takes a pod.
func (h *heap) best(l *look) *node {
	for g := range h.groups {
		bonus := int64(0)
		if l.near != nil {
			if bonus = l.groups[g]; bonus == refused {
				continue
			}
		}
		if p := h.groups[g]; len(p) == 0 || l.best != nil && p[0].points+bonus < l.points {
			continue
		}
		n, points := h.top(l, int32(g))
		if n == nil {
			continue
		}
		if points += bonus; l.best == nil || l.beats(points, n.slot) {
			l.best, l.points, l.rank = n, points, l.cell.ranks[n.slot]
		}
	}
	return l.best
}

// catchUp looks again at the nodes that have got better since the class last looked.
func (h *heap) catchUp(l *look) {
	for _, n := range l.cell.improved[l.mark-l.cell.base:] {
		h.renew(l, n.slot)
	}
}
