package offer

import (
	"slices"
	"strings"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/share"
)

// Agent is a node as offers see it.
type Agent struct {
	Node           string
	ID             string
	Total          resource.List // what it has, by reservation
	Free           resource.List // what of that no pod has
	Closed         bool          // it is not offered
	Hostname       string
	Region, Zone   string // empty: the cluster's own
	Attributes     []*mesosv1.Attribute
	Unavailability *mesosv1.Unavailability
}

// Framework is a framework that can be offered to.
type Framework struct {
	ID          string
	Roles       []string
	Suppressed  []string // of the roles
	GPU         bool
	Shared      bool
	Revocable   bool
	Refinement  bool
	RegionAware bool
	Constraints map[string]*Constraints // by role; nil: none
	Min         map[string]Min          // by role: the least that is worth an offer; nil: the default
}

// Lent is what is lent to a framework, or what it has refused.
type Lent struct {
	ID, Framework, Role, Node string
	List                      resource.List
	Refused                   bool
}

// Made is an offer that is to be made.
type Made struct {
	Framework, Role string
	Agent           *Agent // shared; do not change
	List            resource.List
}

// Tenant is what is set for a path of the tree.
type Tenant struct {
	Path             string
	Weight           float64
	Guarantee, Limit Bounds
}

// Bounds are amounts of scalars in thousandths, by Mesos' names. What is not named has none.
type Bounds map[string]int64

// Config is what an Engine is told once.
type Config struct {
	Tenants []Tenant
	// Path returns where a role stands in the tree; nil: where its name says.
	Path func(role string) string
	// Region is the cluster's own; empty: agents have none.
	Region string
}

// Engine makes offers. It belongs to one goroutine.
type Engine struct {
	cfg     Config
	tree    *share.Tree
	total   object.Demand
	agents  map[string]*agent
	order   []*agent // by name
	leaves  map[leafKey]*leaf
	numbers []*leaf // by their index; nil: free
	lent    map[string]*lending
	bounded map[string]*Tenant       // by path
	idle    map[string]object.Demand // what is reserved for tenants with bounds and nobody has, by path
	room    headroom
}

type leafKey struct{ framework, role string }

// leaf is a framework in one of its roles: what stands lowest gets the offer.
type leaf struct {
	key         leafKey
	f           *Framework
	node        *share.Node
	index       int       // in the agents' sets
	bounds      []*Tenant // of its tenant and those above it
	constraints *Constraints
	min         Min
}

// agent is an Agent with what is lent of it.
type agent struct {
	*Agent
	demand  object.Demand // of Total
	free    resource.List // nobody has: Free less what is lent
	plain   bool          // all of free is unreserved, not shared, not revocable
	gpus    bool
	lent    []*lending
	refused map[int][]*lending // by leaf
	blocked bits               // leaves that have refused all of blockedOf
	cleared resource.List      // what blocked was computed for
	dirty   bool               // it has to be looked at
	clipped bool               // somebody got less of it than there was: look at it every cycle
}

type lending struct {
	Lent
	leaf   *leaf // nil: of a framework that is not there
	demand object.Demand
}

// New returns an engine without agents.
func New(cfg Config) *Engine {
	if cfg.Path == nil {
		cfg.Path = func(role string) string { return role }
	}
	e := &Engine{
		cfg: cfg, tree: share.New(), agents: map[string]*agent{}, leaves: map[leafKey]*leaf{}, lent: map[string]*lending{},
		bounded: map[string]*Tenant{}, idle: map[string]object.Demand{},
	}
	for i := range cfg.Tenants {
		t := &cfg.Tenants[i]
		e.tree.At(t.Path).SetWeight(t.Weight)
		if len(t.Guarantee)+len(t.Limit) > 0 {
			e.bounded[t.Path] = t
		}
	}
	return e
}

// SetAgent takes in an agent as it is now. It returns the offers that are lent of what is not free
// any more: rescind them.
func (e *Engine) SetAgent(a Agent) (over []string) {
	have := e.agents[a.Node]
	if have == nil {
		have = &agent{Agent: &Agent{}, refused: map[int][]*lending{}}
		e.agents[a.Node] = have
		i, _ := slices.BinarySearchFunc(e.order, a.Node, func(x *agent, name string) int { return strings.Compare(x.Node, name) })
		e.order = slices.Insert(e.order, i, have)
		have.Agent.Node = a.Node
	}
	if !have.Total.Equal(a.Total) {
		d := demandOf(a.Total)
		e.total = share.Plus(share.Plus(e.total, have.demand, -1), d, 1)
		e.tree.SetTotal(e.total)
		have.demand, have.gpus = d, a.Total.Scalar(resource.GPUs) > 0
	}
	*have.Agent = a
	have.dirty = true
	left := a.Free
	for _, l := range have.lent {
		if !left.Contains(l.List) || a.Closed {
			over = append(over, l.ID)
			continue
		}
		left = left.Minus(l.List)
	}
	e.setFree(have, left)
	return over
}

// RemoveAgent forgets an agent. It returns the offers of it: rescind them.
func (e *Engine) RemoveAgent(node string) (lent []string) {
	a := e.agents[node]
	if a == nil {
		return nil
	}
	for _, l := range a.lent {
		lent = append(lent, l.ID)
	}
	e.setFree(a, nil)
	e.total = share.Plus(e.total, a.demand, -1)
	e.tree.SetTotal(e.total)
	delete(e.agents, node)
	e.order = slices.DeleteFunc(e.order, func(x *agent) bool { return x == a })
	return lent
}

// setFree notes what nobody has of the agent.
func (e *Engine) setFree(a *agent, free resource.List) {
	e.countIdle(a.free, -1)
	e.countIdle(free, 1)
	a.free = free
	a.plain = !slices.ContainsFunc(free, func(r resource.Resource) bool { return r.Reserved() || r.Shared || r.Revocable })
}

// countIdle counts what is reserved and nobody has for the tenants that have bounds.
func (e *Engine) countIdle(l resource.List, sign int64) {
	if len(e.bounded) == 0 {
		return
	}
	for i := range l {
		if !l[i].Reserved() {
			continue
		}
		d := demandOf(l[i : i+1])
		for path := range above(e.cfg.Path(l[i].Role())) {
			if e.bounded[path] != nil {
				e.idle[path] = share.Plus(e.idle[path], d, sign)
			}
		}
	}
}

// above yields a path and those above it.
func above(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for yield(path) {
			i := strings.LastIndexByte(path, '/')
			if i < 0 {
				return
			}
			path = path[:i]
		}
	}
}

// SetFramework takes in a framework as it is now. Every agent is looked at again.
func (e *Engine) SetFramework(f Framework) {
	for key, l := range e.leaves {
		if key.framework == f.ID && !slices.Contains(f.Roles, key.role) {
			e.drop(l)
		}
	}
	for _, role := range f.Roles {
		key := leafKey{f.ID, role}
		l := e.leaves[key]
		if l == nil {
			l = &leaf{key: key, node: e.node(key)}
			l.node.Of = l
			l.index = slices.Index(e.numbers, nil)
			if l.index < 0 {
				l.index, e.numbers = len(e.numbers), append(e.numbers, nil)
			}
			e.numbers[l.index], e.leaves[key] = l, l
			for path := range above(e.cfg.Path(role)) {
				if t := e.bounded[path]; t != nil {
					l.bounds = append(l.bounds, t)
				}
			}
		}
		l.f, l.constraints, l.min = &f, f.Constraints[role], f.Min[role]
		l.node.Want(!slices.Contains(f.Suppressed, role))
	}
	e.Look()
}

// RemoveFramework forgets a framework. What is lent to it is to be rescinded.
func (e *Engine) RemoveFramework(id string) {
	for key, l := range e.leaves {
		if key.framework == id {
			e.drop(l)
		}
	}
}

func (e *Engine) drop(l *leaf) {
	l.node.Want(false)
	l.node.Of = nil
	e.numbers[l.index] = nil
	delete(e.leaves, l.key)
	for _, a := range e.order {
		for _, r := range a.refused[l.index] {
			r.leaf = nil
		}
		delete(a.refused, l.index)
		a.blocked.set(l.index, false)
	}
}

// node returns the framework's place in the tree, below its role's.
func (e *Engine) node(key leafKey) *share.Node {
	return e.tree.At(place(mesos.FrameworkName(key.framework), e.cfg.Path(key.role)))
}

// place returns the path of a framework, by its object's name, in a tenant. No role has such a
// byte in its name.
func place(framework, path string) string { return path + "/\x00" + framework }

// Charge counts a pod of the tenant of a path in (sign 1) or out (sign -1); framework is the
// name of the Framework that it is of, empty: of none.
func (e *Engine) Charge(framework, path string, d object.Demand, sign int64) {
	if framework != "" {
		path = place(framework, path)
	}
	e.tree.At(path).Charge(d, sign)
}

// Look has every agent looked at in the next cycle.
func (e *Engine) Look() {
	for _, a := range e.order {
		a.dirty = true
	}
}

// SetLent takes in an offer as it is now.
func (e *Engine) SetLent(l Lent) {
	if have := e.lent[l.ID]; have != nil {
		if have.Refused == l.Refused && have.leaf != nil && have.List.Equal(l.List) {
			return
		}
		e.RemoveLent(l.ID)
	}
	in := &lending{Lent: l, leaf: e.leaves[leafKey{l.Framework, l.Role}], demand: demandOf(l.List)}
	e.lent[l.ID] = in
	a := e.agents[l.Node]
	switch {
	case l.Refused:
		if a != nil && in.leaf != nil {
			a.refused[in.leaf.index] = append(a.refused[in.leaf.index], in)
			a.cleared, a.dirty = nil, true // others may have it at once
		}
		return
	case a != nil:
		a.lent = append(a.lent, in)
		e.setFree(a, a.free.Minus(l.List))
	}
	e.node(leafKey{l.Framework, l.Role}).Charge(in.demand, 1)
}

// RemoveLent forgets an offer: it is answered, rescinded, or a refusal whose time is over.
func (e *Engine) RemoveLent(id string) {
	l := e.lent[id]
	if l == nil {
		return
	}
	delete(e.lent, id)
	a := e.agents[l.Node]
	same := func(x *lending) bool { return x == l }
	if l.Refused {
		if a != nil && l.leaf != nil {
			if a.refused[l.leaf.index] = slices.DeleteFunc(a.refused[l.leaf.index], same); len(a.refused[l.leaf.index]) == 0 {
				delete(a.refused, l.leaf.index)
			}
			a.cleared, a.dirty = nil, true
		}
		return
	}
	e.node(leafKey{l.Framework, l.Role}).Charge(l.demand, -1)
	if a == nil {
		return
	}
	a.lent = slices.DeleteFunc(a.lent, same)
	left := a.Free
	for _, o := range a.lent {
		left = left.Minus(o.List)
	}
	e.setFree(a, left)
	a.clipped = true // not at once: who declines for no time at all gets it no sooner than others
}

// Later reports whether a cycle that looks at all agents may find what one that looks at those
// that changed does not.
func (e *Engine) Later() bool {
	return slices.ContainsFunc(e.order, func(a *agent) bool { return a.clipped })
}

// Wanted reports whether any framework wants offers.
func (e *Engine) Wanted() bool { return e.tree.Lowest() != nil }

// Tree returns the shares. Shared; do not charge.
func (e *Engine) Tree() *share.Tree { return e.tree }

// bits is a set of small numbers.
type bits []uint64

func (b *bits) set(i int, yes bool) {
	for len(*b) <= i/64 {
		*b = append(*b, 0)
	}
	if yes {
		(*b)[i/64] |= 1 << (i % 64)
	} else {
		(*b)[i/64] &^= 1 << (i % 64)
	}
}

func (b bits) has(i int) bool { return i/64 < len(b) && b[i/64]&(1<<(i%64)) != 0 }
