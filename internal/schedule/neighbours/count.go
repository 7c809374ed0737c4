package neighbours

// counts is numbers by domain: a few in a map, many side by side.
type counts struct {
	few     map[int32]int64
	many    []int64
	nonzero int
}

// fewDomains is how many numbers are kept in a map.
const fewDomains = 32

func (c *counts) at(d int32) int64 {
	if c.many == nil {
		if c.nonzero == 0 {
			return 0
		}
		return c.few[d]
	}
	if int(d) < len(c.many) {
		return c.many[d]
	}
	return 0
}

// add returns what the number was.
func (c *counts) add(d int32, by int64) (was int64) {
	if c.many == nil {
		was = c.few[d]
		if c.few == nil {
			c.few = map[int32]int64{}
		}
		if c.few[d] = was + by; was+by == 0 {
			delete(c.few, d)
		}
		if c.nonzero = len(c.few); c.nonzero > fewDomains {
			c.spread()
		}
		return was
	}
	for len(c.many) <= int(d) {
		c.many = append(c.many, 0)
	}
	was = c.many[d]
	c.many[d] = was + by
	switch {
	case was == 0 && by != 0:
		c.nonzero++
	case was != 0 && was+by == 0:
		c.nonzero--
	}
	return was
}

func (c *counts) spread() {
	c.many = make([]int64, 0, 2*fewDomains)
	few := c.few
	c.few, c.nonzero = nil, 0
	for d, n := range few {
		c.add(d, n)
	}
}

// each yields what is not zero, in no order.
func (c *counts) each(yield func(d int32, n int64) bool) {
	if c.many == nil {
		for d, n := range c.few {
			if !yield(d, n) {
				return
			}
		}
		return
	}
	for d, n := range c.many {
		if n != 0 && !yield(int32(d), n) {
			return
		}
	}
}

// counter counts the pods of a match by domain.
type counter struct {
	match *match
	key   *key
	scope *scope // what counts; nil: all nodes, and pods that are leaving too
	n     counts
	// The clock of the Index when a domain last got its first pod, lost its last, had one pod fewer,
	// and when the least of all domains may have risen.
	filled, emptied, fewer, rose uint64
	demanded                     bool  // somebody demands that there is one
	known                        bool  // least and leasts are
	least                        int64 // number of a domain of the scope
	leasts                       int   // domains that have no more
}

// counter returns the counter of a match by a key.
func (x *Index) counter(m *match, k *key, s *scope) *counter {
	for _, c := range m.counters {
		if c.key == k && c.scope == s {
			return c
		}
	}
	c := &counter{match: m, key: k, scope: s}
	m.counters = append(m.counters, c)
	if s != nil {
		s.counts = append(s.counts, c)
	}
	x.size++
	for g := range m.guises {
		for _, p := range g.pods {
			c.count(p, 1)
		}
	}
	return c
}

// count counts a pod of the match in (sign 1) or out (-1).
func (c *counter) count(p *Pod, sign int64) {
	d := c.key.of(p.node)
	if d == 0 || c.scope != nil && (p.leaving || !c.scope.has(p.node)) {
		return
	}
	was := c.n.add(d, sign)
	switch {
	case c.scope != nil:
		if sign < 0 {
			p.index.let(&c.fewer)
		}
		c.bound(p.index, was, sign)
	case sign > 0 && was == 0 && c.demanded:
		p.index.let(&c.filled)
	case sign < 0 && was == 1:
		p.index.let(&c.emptied)
	}
}

// bound keeps the least up to a domain that had so many pods.
func (c *counter) bound(x *Index, was, sign int64) {
	switch {
	case !c.known:
		x.let(&c.rose)
	case sign > 0 && was == c.least:
		if c.leasts--; c.leasts == 0 {
			c.known = false
			x.let(&c.rose)
		}
	case sign < 0 && was == c.least:
		c.least, c.leasts = was-1, 1
	case sign < 0 && was == c.least+1:
		c.leasts++
	}
}

// minimum returns how many pods the domain of the scope has that has the fewest; 0 where there are fewer
// domains than there are to be.
func (c *counter) minimum(domains int64) int64 {
	in := c.scope.domains[c.key]
	if int64(in.nonzero) < domains {
		return 0
	}
	if !c.known {
		c.known, c.least, c.leasts = true, 0, 0
		for d := range in.each {
			switch n := c.n.at(d); {
			case c.leasts == 0 || n < c.least:
				c.least, c.leasts = n, 1
			case n == c.least:
				c.leasts++
			}
		}
	}
	return c.least
}

// bond is what pods that own a term say of those whom it matches.
type bond struct {
	match  *match
	key    *key
	weight int64  // of a wish, less than 0 to keep away; 0: to keep away is a demand
	owners counts // by domain
	// emptied is the clock when a domain last lost its last owner.
	emptied uint64
	pods    int64 // owners that have a node
	mark    uint64
}

// bond returns the one bond of that kind.
func (x *Index) bond(m *match, k *key, weight int64) *bond {
	for _, b := range m.bonds {
		if b.key == k && b.weight == weight {
			b.mark = x.swept
			return b
		}
	}
	b := &bond{match: m, key: k, weight: weight, mark: x.swept}
	m.bonds = append(m.bonds, b)
	x.size++
	x.shape++
	return b
}

func (b *bond) count(p *Pod, sign int64) {
	b.pods += sign
	d := b.key.of(p.node)
	if d == 0 {
		return
	}
	if was := b.owners.add(d, sign); was+sign == 0 && b.weight == 0 {
		p.index.let(&b.emptied)
	}
}
