package offer

import (
	"trireme/internal/mesos/resource"
	"trireme/internal/object"
	"trireme/internal/share"
)

// headroom is what guarantees of the cluster need and what there is for them, in a cycle.
type headroom struct {
	on        bool   // there are guarantees
	available Bounds // unreserved scalars that nobody has
	required  Bounds // guarantees that are not met, added up
	unmet     map[string]Bounds
}

// Cycle looks at the agents that have changed, with all at those too of which somebody got less
// than there was, and calls lend for each offer that is to be made; lend returns its id. At most
// most offers are made; more reports whether there is more to do.
func (e *Engine) Cycle(all bool, most int, lend func(Made) string) (more bool) {
	if !e.Wanted() {
		return false
	}
	e.survey()
	c := &cycle{Engine: e, lend: lend, left: most}
	var due []*agent
	for _, a := range e.order {
		if a.dirty = a.dirty || all && a.clipped; a.dirty {
			due = append(due, a)
		}
	}
	if e.room.on {
		for _, a := range due {
			if c.left > 0 && !a.Closed {
				c.guarantee(a)
			}
		}
	}
	defer c.unpark()
	for _, plain := range []bool{false, true} {
		if plain {
			c.park()
		}
		for _, a := range due {
			if c.left <= 0 {
				return true
			}
			if a.plain != plain || !a.dirty {
				continue
			}
			a.dirty, a.clipped = false, plain && len(c.parked) > 0
			if !a.Closed {
				c.share(a)
			}
		}
	}
	return false
}

type cycle struct {
	*Engine
	lend   func(Made) string
	left   int
	parks  bool
	parked []*leaf // whose limit lets them have nothing that is nobody's
}

// park takes those out of the order who cannot have anything of agents of which nothing is
// reserved: what they have only grows in a cycle.
func (c *cycle) park() {
	c.parks = true
	for _, l := range c.numbers {
		if l != nil {
			c.parkOne(l)
		}
	}
}

func (c *cycle) parkOne(l *leaf) {
	if c.parks && len(l.bounds) > 0 && l.node.Wants() && c.full(l) {
		l.node.Want(false)
		c.parked = append(c.parked, l)
	}
}

func (c *cycle) unpark() {
	for _, l := range c.parked {
		l.node.Want(true)
	}
}

// full reports whether the least that is worth an offer to the leaf is more than it may have.
func (c *cycle) full(l *leaf) bool {
	least := l.min
	if least == nil {
		least = defaultMin
	}
	for _, one := range least {
		fits := true
		for name, n := range one {
			fits = fits && c.most(l, name, nil) >= n
		}
		if fits {
			return false
		}
	}
	return len(least) > 0
}

// survey counts what guarantees need and what there is.
func (e *Engine) survey() {
	e.room = headroom{unmet: map[string]Bounds{}}
	for path, t := range e.bounded {
		if len(t.Guarantee) == 0 {
			continue
		}
		if !e.room.on {
			e.room.on, e.room.available, e.room.required = true, Bounds{}, Bounds{}
		}
		unmet := Bounds{}
		for name, n := range t.Guarantee {
			if more := n - e.consumed(path, name); more > 0 {
				unmet[name] = more
				e.room.required[name] += more
			}
		}
		if len(unmet) > 0 {
			e.room.unmet[path] = unmet
		}
	}
	if !e.room.on {
		return
	}
	for _, a := range e.order {
		if a.Closed {
			continue
		}
		for i := range a.free {
			if r := &a.free[i]; open(r) {
				e.room.available[r.Name] += r.Scalar
			}
		}
	}
}

// open reports whether the resource is one that bounds are about: a scalar that is nobody's.
func open(r *resource.Resource) bool {
	return r.Kind == resource.Scalar && !r.Reserved() && !r.Revocable && !r.Shared
}

// consumed returns what a tenant has of a scalar: what its pods take and what is lent to it,
// and what is reserved for it and nobody has.
func (e *Engine) consumed(path, name string) int64 {
	n := amount(e.idle[path], name)
	if t := e.tree.Find(path); t != nil {
		n += amount(t.Used(), name)
	}
	return n
}

// guarantee gives the agent to tenants whose guarantee is not met.
func (c *cycle) guarantee(a *agent) {
	if len(c.room.unmet) == 0 {
		return
	}
	for again := true; again && c.left > 0; {
		again = false
		for n := range c.tree.Order() {
			l := n.Of.(*leaf)
			unmet := c.unmetOf(l)
			if unmet == nil {
				continue
			}
			if list := c.part(a, l, unmet); c.give(a, l, list) {
				again = true
				break
			}
		}
	}
}

// unmetOf returns what is not met of the guarantee of the leaf's tenant; nil: nothing.
func (e *Engine) unmetOf(l *leaf) Bounds {
	for _, t := range l.bounds {
		if b := e.room.unmet[t.Path]; b != nil {
			return b
		}
	}
	return nil
}

// share gives the agent to who stands lowest and may have it, and what is left to the next.
func (c *cycle) share(a *agent) {
	for again := true; again && c.left > 0 && len(a.free) > 0; {
		again = false
		c.block(a)
		for n := range c.tree.Order() {
			l := n.Of.(*leaf)
			if a.blocked.has(l.index) {
				continue
			}
			if list := c.part(a, l, nil); c.give(a, l, list) {
				again = true
				break
			}
		}
	}
}

// block computes who has refused all that is free of the agent.
func (c *cycle) block(a *agent) {
	if len(a.refused) == 0 {
		if a.blocked != nil {
			a.blocked = nil
		}
		return
	}
	if a.cleared != nil && a.cleared.Equal(a.free) {
		return
	}
	a.blocked, a.cleared = a.blocked[:0], a.free
	for index, list := range a.refused {
		for _, r := range list {
			if r.List.Contains(a.free) {
				a.blocked.set(index, true)
				break
			}
		}
	}
}

// part returns what the leaf may be offered of what is free of the agent. With unmet it is for
// that guarantee.
func (c *cycle) part(a *agent, l *leaf, unmet Bounds) resource.List {
	if !c.suits(a, l) {
		return nil
	}
	if a.plain && len(l.bounds) == 0 && !c.room.on {
		return a.free
	}
	var out resource.List
	clipped := false
	for i := range a.free {
		r := a.free[i]
		switch {
		case !r.For(l.key.role), r.Revocable && !l.f.Revocable, r.Shared && (!l.f.Shared || c.hasShared(a, l, &r)), r.Refined() && !l.f.Refinement:
			continue
		case open(&r):
			most := c.most(l, r.Name, unmet)
			if most < r.Scalar {
				r.Scalar, clipped = most-most%granule(r.Name), true
			}
		}
		if !r.Empty() {
			out = append(out, r)
		}
	}
	a.clipped = a.clipped || clipped
	return out
}

// granule is the least amount of a scalar that makes sense, in thousandths.
func granule(name string) int64 {
	if name == resource.GPUs {
		return resource.Thousand
	}
	return 1
}

// most returns how much of a scalar the leaf may be offered.
func (c *cycle) most(l *leaf, name string, unmet Bounds) int64 {
	const unlimited = int64(1) << 62
	most := unlimited
	for _, t := range l.bounds {
		if limit, ok := t.Limit[name]; ok {
			most = min(most, limit-c.consumed(t.Path, name))
		}
	}
	if c.room.on {
		spare := max(0, c.room.available[name]-c.room.required[name])
		most = min(most, spare+c.mine(l, name, unmet))
	}
	return max(0, most)
}

// mine returns what of the required headroom is the leaf's own tenant's.
func (c *cycle) mine(l *leaf, name string, unmet Bounds) int64 {
	if unmet == nil {
		unmet = c.unmetOf(l)
	}
	return unmet[name]
}

// hasShared reports whether the leaf has been lent the shared resource already.
func (c *cycle) hasShared(a *agent, l *leaf, r *resource.Resource) bool {
	for _, o := range a.lent {
		if o.leaf == l && o.List.Contains(resource.List{*r}) {
			return true
		}
	}
	return false
}

// give lends the list to the leaf, unless it is too little or refused.
func (c *cycle) give(a *agent, l *leaf, list resource.List) bool {
	if len(list) == 0 || !l.min.Reaches(list) {
		return false
	}
	for _, r := range a.refused[l.index] {
		if r.List.Contains(list) {
			return false
		}
	}
	in := &lending{Lent: Lent{Framework: l.key.framework, Role: l.key.role, Node: a.Node, List: list}, leaf: l, demand: demandOf(list)}
	in.ID = c.lend(Made{Framework: l.key.framework, Role: l.key.role, Agent: a.Agent, List: list})
	c.Engine.lent[in.ID] = in
	a.lent = append(a.lent, in)
	if c.room.on {
		for i := range list {
			if r := &list[i]; open(r) {
				c.room.available[r.Name] -= r.Scalar
			}
		}
		c.met(l, list)
	}
	if a.plain && len(list) == len(a.free) && list.Equal(a.free) {
		c.setFree(a, nil)
	} else {
		c.setFree(a, a.free.Minus(list))
	}
	l.node.Charge(in.demand, 1)
	c.parkOne(l)
	c.left--
	return true
}

// met notes what the list does for the guarantee of the leaf's tenant.
func (c *cycle) met(l *leaf, list resource.List) {
	for _, t := range l.bounds {
		unmet := c.room.unmet[t.Path]
		if unmet == nil {
			continue
		}
		for i := range list {
			r := &list[i]
			if n, ok := unmet[r.Name]; ok && open(r) {
				by := min(n, r.Scalar)
				c.room.required[r.Name] -= by
				if unmet[r.Name] -= by; unmet[r.Name] == 0 {
					delete(unmet, r.Name)
				}
			}
		}
		if len(unmet) == 0 {
			delete(c.room.unmet, t.Path)
		}
	}
}

// amount returns how much of a scalar a demand has, in thousandths; what is part of a
// thousandth counts.
func amount(d object.Demand, name string) int64 {
	switch name {
	case resource.CPUs:
		return d.CPUMilli
	case resource.Mem:
		return megabytesUp(d.MemoryBytes)
	case resource.Disk:
		return megabytesUp(d.EphemeralBytes)
	}
	pods, one := resource.Name(name)
	return d.Extended[pods] * one
}

func megabytesUp(bytes int64) int64 {
	n := resource.Megabytes(bytes)
	if resource.Bytes(n) < bytes {
		n++
	}
	return n
}

// demandOf returns the scalars of a list as the scheduler counts them: what is revocable is in what
// others have asked for.
func demandOf(l resource.List) (d object.Demand) {
	for i := range l {
		r := &l[i]
		if r.Kind != resource.Scalar || r.Revocable {
			continue
		}
		switch r.Name {
		case resource.CPUs:
			d.CPUMilli += r.Scalar
		case resource.Mem:
			d.MemoryBytes += resource.Bytes(r.Scalar)
		case resource.Disk:
			if !r.Persistent() {
				d.EphemeralBytes += resource.Bytes(r.Scalar)
			}
		default:
			name, one := resource.Name(r.Name)
			d = share.Plus(d, extended(name, r.Scalar/one), 1)
		}
	}
	return d
}
