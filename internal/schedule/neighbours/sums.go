package neighbours

// sums is what concerns a view, added up by domain.
type sums struct {
	view    *View
	clock   uint64
	columns []column
	limits  []int64   // of the hard spreads: more pods than that are too many
	weights []float64 // of the soft ones
	first   bool
}

// column is what is said of the domains of one key.
type column struct {
	key    *key
	repels []bool
	keeps  []bool // those who are there keep away
	pull   []int64
}

// Prepare readies Ask for this view, until something changes or another view is prepared.
func (v *View) Prepare() {
	s := &v.x.sums
	if s.view == v && s.clock == v.x.clock {
		return
	}
	s.view, s.clock, s.columns = v, v.x.clock, s.columns[:0]
	for _, c := range v.apart {
		col := s.column(c.key)
		for d, n := range c.n.each {
			col.repels[d] = col.repels[d] || n > 0
		}
	}
	for _, w := range v.wishes {
		col := s.column(w.key)
		for d, n := range w.n.each {
			col.pull[d] += w.weight * n
		}
	}
	for _, m := range v.met() {
		for _, b := range m.bonds {
			s.bond(b)
		}
	}
	s.limits, s.weights = s.limits[:0], s.weights[:0]
	for i := range v.hard {
		h := &v.hard[i]
		s.limits = append(s.limits, h.skew+h.minimum()-h.self)
	}
	for i := range v.soft {
		s.weights = append(s.weights, v.soft[i].weight())
	}
	s.first = v.first()
}

func (s *sums) bond(b *bond) {
	if b.owners.nonzero == 0 {
		return
	}
	col := s.column(b.key)
	for d, n := range b.owners.each {
		if b.weight == 0 {
			col.keeps[d] = true
		} else {
			col.pull[d] += b.weight * n
		}
	}
}

// column returns the key's column, with nothing in it the first time.
func (s *sums) column(k *key) *column {
	for i := range s.columns {
		if s.columns[i].key == k {
			return &s.columns[i]
		}
	}
	if len(s.columns) < cap(s.columns) {
		s.columns = s.columns[:len(s.columns)+1]
	} else {
		s.columns = append(s.columns, column{})
	}
	c, n := &s.columns[len(s.columns)-1], len(k.values)
	c.key = k
	if cap(c.repels) < n {
		c.repels, c.keeps, c.pull = make([]bool, n, 2*n), make([]bool, n, 2*n), make([]int64, n, 2*n)
		return c
	}
	c.repels, c.keeps, c.pull = c.repels[:n], c.keeps[:n], c.pull[:n]
	clear(c.repels)
	clear(c.keeps)
	clear(c.pull)
	return c
}

// Ask says the same of the node as Judge and Pull, after Prepare.
func (v *View) Ask(n *Node) (verdict Verdict, pull int64, skew float64) {
	s := &v.x.sums
	for i := range v.hard {
		h := &v.hard[i]
		d := h.key.of(n)
		if d == 0 {
			return Unlabelled, 0, 0
		}
		if h.at(d) > s.limits[i] {
			return Skewed, 0, 0
		}
	}
	all := true
	for _, c := range v.near {
		d := c.key.of(n)
		if d == 0 {
			return Alone, 0, 0
		}
		all = all && c.n.at(d) > 0
	}
	if !all && !s.first {
		return Alone, 0, 0
	}
	for i := range s.columns {
		c := &s.columns[i]
		d := c.key.of(n)
		if d == 0 {
			continue
		}
		switch {
		case c.repels[d]:
			return Repelled, 0, 0
		case c.keeps[d]:
			verdict = Unwelcome
		}
		pull += c.pull[d]
	}
	if verdict != Fits {
		return verdict, 0, 0
	}
	for i := range v.soft {
		p := &v.soft[i]
		d := p.key.of(n)
		if d == 0 {
			return Fits, pull, Unplaced
		}
		skew += float64(p.at(d)) * s.weights[i]
	}
	return Fits, pull, skew
}
