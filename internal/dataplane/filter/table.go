package filter

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object/network"
	"trireme/internal/object/peers"
)

// Way is a direction, as a pod sees it.
type Way int

// The ways.
const (
	In Way = iota
	Out
)

// SetKind is what a set holds.
type SetKind uint8

// The kinds of sets.
const (
	Addresses SetKind = iota + 1
	Ports             // addresses with protocol and port
	Ranges            // of addresses
)

// Element is a member of a set.
type Element struct {
	Addr  netip.Addr
	Last  netip.Addr // of a range
	Proto uint8
	Port  uint16
}

// Set is a set of elements.
type Set struct {
	Name     string
	Kind     SetKind
	Elements []Element
}

// Rule accepts a packet, or jumps to a chain, if all that it says holds.
type Rule struct {
	Set         string // that the other side is in; empty: any
	Kind        SetKind
	Proto       uint8  // 0: any
	First, Last uint16 // destination ports; 0: any
	Then        string // a chain; empty: accept
}

// Chain is a list of rules.
type Chain struct {
	Name  string
	Way   Way
	Rules []Rule
	Drop  bool // what no rule accepts; else it goes back to where it came from
}

// Change is a value before and after; the zero value means absent.
type Change[V comparable] struct{ Old, New V }

// Delta is what comes to a set and what goes.
type Delta struct {
	Kind     SetKind
	Add, Del []Element
}

// Changes are what differs since the last Take.
type Changes struct {
	Sets       []Set   // to make, with what they hold
	Chains     []Chain // to make; first those that others jump to
	Elements   map[string]Delta
	Pods       [2]map[netip.Addr]Change[string] // by Way: the isolated pods' chains
	Closed     map[netip.Addr]Change[bool]      // those that may ask their node for names, and no more
	Names      map[netip.Addr]string            // of those pods
	GoneChains []string                         // last those that others jump to
	GoneSets   []string
}

// Empty reports whether nothing differs.
func (c *Changes) Empty() bool {
	return len(c.Closed) == 0 && len(c.Sets) == 0 && len(c.Chains) == 0 && len(c.Elements) == 0 && len(c.Pods[In]) == 0 && len(c.Pods[Out]) == 0 &&
		len(c.GoneChains) == 0 && len(c.GoneSets) == 0
}

type pod struct {
	*corev1.Pod
	addr netip.Addr
	only bool         // on its tenants' networks
	way  [2]*compiled // nil: not isolated that way
}

// group is a group's members, each with how many parts have it.
type group struct {
	parts   map[string][]peers.Member // by node
	counts  map[Element]int
	touched map[Element]bool // whether the kernel has it
}

// Table holds what a node knows of policies, as far as it concerns one address family.
// It is for one goroutine.
type Table struct {
	v6       bool
	pods     map[types.NamespacedName]*pod
	policies map[types.NamespacedName]*peers.Policy
	groups   map[string]*group
	dirty    map[types.NamespacedName]bool // pods
	fresh    bool                          // the kernel was told nothing

	told state
}

// state is what the kernel was told.
type state struct {
	pods   [2]map[netip.Addr]string
	closed map[netip.Addr]bool
	chains map[string]bool // whether others jump to it
	sets   map[string]bool
}

func newState() state {
	return state{[2]map[netip.Addr]string{{}, {}}, map[netip.Addr]bool{}, map[string]bool{}, map[string]bool{}}
}

// NewTable returns an empty table.
func NewTable(v6 bool) *Table {
	return &Table{
		v6:   v6,
		pods: map[types.NamespacedName]*pod{}, policies: map[types.NamespacedName]*peers.Policy{},
		groups: map[string]*group{}, dirty: map[types.NamespacedName]bool{}, told: newState(), fresh: true,
	}
}

// SetPod sets a pod of this node that has an address; nil: there is none.
func (t *Table) SetPod(key types.NamespacedName, p *corev1.Pod, addr netip.Addr) {
	if p == nil || !addr.IsValid() {
		delete(t.pods, key)
		t.dirty[key] = true
		return
	}
	only := network.Only(p)
	if old := t.pods[key]; old != nil && old.addr == addr && old.only == only && old.UID == p.UID && maps.Equal(old.Labels, p.Labels) {
		old.Pod = p
		return // what else may change says nothing here
	}
	t.pods[key] = &pod{Pod: p, addr: addr, only: only}
	t.dirty[key] = true
}

// SetPolicy sets a policy; nil: it is there no more.
func (t *Table) SetPolicy(key types.NamespacedName, p *networkingv1.NetworkPolicy) {
	delete(t.policies, key)
	if p != nil {
		read := peers.Read(p)
		t.policies[key] = &read
	}
	for pod := range t.pods {
		if pod.Namespace == key.Namespace {
			t.dirty[pod] = true
		}
	}
}

// SetPart sets the members of a group on one node; none: there are none.
func (t *Table) SetPart(id, node string, members []peers.Member) {
	g := t.groups[id]
	if g == nil {
		if len(members) == 0 {
			return
		}
		g = &group{parts: map[string][]peers.Member{}, counts: map[Element]int{}, touched: map[Element]bool{}}
		t.groups[id] = g
	}
	ours := func(m peers.Member) bool { return m.Address.Is6() == t.v6 }
	for _, m := range g.parts[node] {
		if ours(m) {
			g.count(m, -1)
		}
	}
	for _, m := range members {
		if ours(m) {
			g.count(m, 1)
		}
	}
	if g.parts[node] = members; len(members) == 0 {
		delete(g.parts, node)
	}
}

func (g *group) count(m peers.Member, by int) {
	e := Element{Addr: m.Address, Port: m.Port}
	if m.Port != 0 {
		e.Proto = proto(m.Protocol)
	}
	if _, ok := g.touched[e]; !ok {
		g.touched[e] = g.counts[e] > 0
	}
	if g.counts[e] += by; g.counts[e] == 0 {
		delete(g.counts, e)
	}
}

// All returns everything as new and counts it as done: for a kernel table that is
// made afresh.
func (t *Table) All() *Changes {
	t.told, t.fresh = newState(), true
	return t.Take()
}

// Take returns what changed since the last Take, and counts it as done.
func (t *Table) Take() *Changes {
	for key := range t.dirty {
		if p := t.pods[key]; p != nil {
			p.way[In], p.way[Out] = t.compile(p, In), t.compile(p, Out)
		}
	}
	c := &Changes{
		Elements: map[string]Delta{}, Pods: [2]map[netip.Addr]Change[string]{{}, {}}, Closed: map[netip.Addr]Change[bool]{}, Names: map[netip.Addr]string{},
	}
	if len(t.dirty) > 0 || t.fresh {
		t.structure(c)
	}
	clear(t.dirty)
	t.fresh = false
	t.elements(c)
	return c
}

// structure compares maps, chains and the presence of sets with what was told. It
// costs as much as there are pods on the node.
func (t *Table) structure(c *Changes) {
	now := newState()
	chains, sets := map[string]Chain{}, map[string]Set{}
	for _, p := range t.byAddress() {
		c.Names[p.addr] = p.Namespace + "/" + p.Name
		if p.only {
			now.closed[p.addr] = true
		}
		for way, is := range p.way {
			if is == nil {
				continue
			}
			now.pods[way][p.addr] = is.chain.Name
			now.chains[is.chain.Name] = false
			chains[is.chain.Name] = is.chain
			for _, ports := range is.ports {
				now.chains[ports.Name] = true
				chains[ports.Name] = ports
			}
			for _, s := range is.sets {
				now.sets[s.Name] = true
				sets[s.Name] = s
			}
		}
	}
	for a := range now.closed {
		if !t.told.closed[a] {
			c.Closed[a] = Change[bool]{New: true}
		}
	}
	for a := range t.told.closed {
		if !now.closed[a] {
			c.Closed[a] = Change[bool]{Old: true}
		}
	}
	for way := range now.pods {
		for a, chain := range now.pods[way] {
			if was := t.told.pods[way][a]; was != chain {
				c.Pods[way][a] = Change[string]{was, chain}
			}
		}
		for a, was := range t.told.pods[way] {
			if now.pods[way][a] == "" {
				c.Pods[way][a] = Change[string]{Old: was}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now.sets)) {
		if !t.told.sets[name] {
			c.Sets = append(c.Sets, t.filled(sets[name]))
		}
	}
	for _, name := range missing(now.chains, t.told.chains, true) {
		c.Chains = append(c.Chains, chains[name])
	}
	c.GoneChains = missing(t.told.chains, now.chains, false)
	for _, name := range slices.Sorted(maps.Keys(t.told.sets)) {
		if !now.sets[name] {
			c.GoneSets = append(c.GoneSets, name)
		}
	}
	t.told = now
}

// missing returns what is in a and not in b: first or last those that others jump to.
func missing(a, b map[string]bool, targetsFirst bool) []string {
	var out [2][]string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if _, ok := b[name]; ok {
			continue
		}
		at := 0
		if a[name] != targetsFirst {
			at = 1
		}
		out[at] = append(out[at], name)
	}
	return append(out[0], out[1]...)
}

// byAddress returns the pods, one for each address: a new pod may have the address
// of an older one that is not forgotten yet.
func (t *Table) byAddress() map[netip.Addr]*pod {
	out := make(map[netip.Addr]*pod, len(t.pods))
	for _, p := range t.pods {
		if q := out[p.addr]; q == nil || younger(p, q) {
			out[p.addr] = p
		}
	}
	return out
}

func younger(p, q *pod) bool {
	if !p.CreationTimestamp.Equal(&q.CreationTimestamp) {
		return q.CreationTimestamp.Before(&p.CreationTimestamp)
	}
	return p.UID > q.UID
}

// filled returns a set with what it holds: a group's members, unless it has its own.
func (t *Table) filled(s Set) Set {
	if g := t.groups[groupOf(s.Name)]; s.Kind != Ranges && g != nil {
		s.Elements = slices.SortedFunc(maps.Keys(g.counts), compareElements)
		clear(g.touched)
	}
	return s
}

// elements compares the members of groups whose sets are there.
func (t *Table) elements(c *Changes) {
	for id, g := range t.groups {
		for kind, name := range map[SetKind]string{Addresses: setName(id, Addresses), Ports: setName(id, Ports)} {
			if !t.told.sets[name] {
				continue
			}
			d := Delta{Kind: kind}
			for e, had := range g.touched {
				switch has := g.counts[e] > 0; {
				case has && !had:
					d.Add = append(d.Add, e)
				case had && !has:
					d.Del = append(d.Del, e)
				}
			}
			if len(d.Add)+len(d.Del) > 0 {
				c.Elements[name] = d
			}
		}
		if clear(g.touched); len(g.parts) == 0 {
			delete(t.groups, id)
		}
	}
}
