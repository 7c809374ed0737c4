// Package rank orders what a class of pods knows of the nodes: a heap for each of its groups, the best node first; equal ones by the
// ranks of their names, so that the same cell gives the same choice. What points mean is not for it to know. It is pure and
// belongs to one goroutine.
//
// How to debug: TestAgrees of the scheduler holds what comes out to the plain rules.
package rank

// Place is a node with its points. One whose version is not its node's has points that the node has no more of.
type Place struct {
	Points  int64
	Version uint64 // of the node when it was rated; 0: it was not, the points are the most it can have
	Slot    int32
}

// Heap is the places of nodes, by group.
type Heap struct {
	Groups [][]Place
	// where each slot's place is: its group, and how far back there; -1: nowhere.
	group []int32
	at    []int32
}

// New returns a heap of so many groups without places, for nodes of so many slots.
func New(groups, slots int) Heap {
	h := Heap{Groups: make([][]Place, groups)}
	h.reach(slots)
	return h
}

// reach makes room for as many slots.
func (h *Heap) reach(slots int) {
	for len(h.at) < slots {
		h.group, h.at = append(h.group, 0), append(h.at, -1)
	}
}

// Add adds a place whose slot has none. Order must follow.
func (h *Heap) Add(g int32, pl Place) {
	h.group[pl.Slot], h.at[pl.Slot] = g, int32(len(h.Groups[g]))
	h.Groups[g] = append(h.Groups[g], pl)
}

// Order makes a heap of what was added.
func (h *Heap) Order(ranks []int32) {
	for g := range h.Groups {
		for i := len(h.Groups[g])/2 - 1; i >= 0; i-- {
			h.sink(ranks, int32(g), i)
		}
	}
}

// Renew puts a place where it belongs now, instead of its slot's; not in: the slot has none any more.
func (h *Heap) Renew(ranks []int32, g int32, pl Place, in bool) {
	h.reach(len(ranks))
	if at := h.at[pl.Slot]; at >= 0 && (!in || h.group[pl.Slot] != g) {
		h.Remove(ranks, h.group[pl.Slot], int(at))
	}
	if !in {
		return
	}
	for int(g) >= len(h.Groups) {
		h.Groups = append(h.Groups, nil)
	}
	if h.at[pl.Slot] < 0 {
		h.Add(g, pl)
	}
	h.Put(ranks, g, int(h.at[pl.Slot]), pl)
}

// Put sets the place at an index of a group.
func (h *Heap) Put(ranks []int32, g int32, i int, pl Place) {
	h.Groups[g][i] = pl
	if !h.rise(ranks, g, i) {
		h.sink(ranks, g, i)
	}
}

// Remove takes a place out: its node does not take pods of the class before it has got better.
func (h *Heap) Remove(ranks []int32, g int32, i int) {
	p := h.Groups[g]
	last := len(p) - 1
	h.at[p[i].Slot] = -1
	moved := p[last]
	h.Groups[g] = p[:last]
	if i < last {
		h.at[moved.Slot] = int32(i)
		h.Put(ranks, g, i, moved)
	}
}

func before(ranks []int32, a, b *Place) bool {
	if a.Points != b.Points {
		return a.Points > b.Points
	}
	return ranks[a.Slot] < ranks[b.Slot]
}

// rise moves a place towards the top; false: it stays.
func (h *Heap) rise(ranks []int32, g int32, i int) bool {
	p, from := h.Groups[g], i
	pl := p[i]
	for i > 0 {
		up := (i - 1) / 2
		if !before(ranks, &pl, &p[up]) {
			break
		}
		p[i] = p[up]
		h.at[p[i].Slot] = int32(i)
		i = up
	}
	p[i] = pl
	h.at[pl.Slot] = int32(i)
	return i != from
}

// sink moves a place away from the top.
func (h *Heap) sink(ranks []int32, g int32, i int) {
	p := h.Groups[g]
	pl := p[i]
	for {
		down := 2*i + 1
		if down >= len(p) {
			break
		}
		if right := down + 1; right < len(p) && before(ranks, &p[right], &p[down]) {
			down = right
		}
		if !before(ranks, &p[down], &pl) {
			break
		}
		p[i] = p[down]
		h.at[p[i].Slot] = int32(i)
		i = down
	}
	p[i] = pl
	h.at[pl.Slot] = int32(i)
}
