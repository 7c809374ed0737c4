package schedule

import "trireme/internal/schedule/rank"

// heap is what a class that is asked more than once knows of the nodes.
type heap struct{ rank.Heap }

// newHeap guesses how well each node suits the class. That costs little: the nodes are asked when they come to the top.
func newHeap(l *look) *heap {
	h := &heap{rank.New(max(1, len(l.groups)), len(l.cell.spots))}
	for i := range l.cell.spots {
		if pl := l.guess(int32(i)); pl.Points != refused {
			h.Add(l.groupOf(int32(i)), pl)
		}
	}
	h.Order(l.cell.ranks)
	return h
}

// guess returns a place with as many points as the node may have at most.
func (l *look) guess(i int32) rank.Place {
	p := l.numbers(i)
	if p != refused {
		p += l.most
	}
	return rank.Place{Points: p, Slot: i}
}

func (l *look) groupOf(i int32) int32 {
	if l.near == nil || l.cell.list[i] == nil {
		return 0
	}
	return l.near.group(l.cell.list[i])
}

// rate returns the place of a slot as it is.
func (l *look) rate(i int32) rank.Place {
	pl := rank.Place{Points: l.numbers(i), Version: l.cell.spots[i].version, Slot: i}
	if pl.Points == refused {
		return pl
	}
	if more := l.rest(l.cell.list[i]); more != refused {
		pl.Points += more
	} else {
		pl.Points = refused
	}
	return pl
}

// renew puts a slot's node, which may have got better, where it may belong now.
func (h *heap) renew(l *look, i int32) {
	pl := l.guess(i)
	h.Renew(l.cell.ranks, l.groupOf(i), pl, pl.Points != refused)
}

// top returns the best node of a group as it is; nil: none takes a pod.
func (h *heap) top(l *look, g int32) (*node, int64) {
	for len(h.Groups[g]) > 0 {
		pl := h.Groups[g][0]
		if pl.Version == l.cell.spots[pl.Slot].version {
			return l.cell.list[pl.Slot], pl.Points
		}
		if pl = l.rate(pl.Slot); pl.Points == refused {
			h.Remove(l.cell.ranks, g, 0)
		} else {
			h.Put(l.cell.ranks, g, 0, pl)
		}
	}
	return nil, refused
}

// best returns the best node of all groups; nil: none takes a pod.
func (h *heap) best(l *look) *node {
	for g := range h.Groups {
		bonus := int64(0)
		if l.near != nil {
			if bonus = l.groups[g]; bonus == refused {
				continue
			}
		}
		if p := h.Groups[g]; len(p) == 0 || l.best != nil && p[0].Points+bonus < l.points {
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
