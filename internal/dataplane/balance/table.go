package balance

import (
	"cmp"
	"net/netip"
	"slices"
)

// Front is what a client calls. An invalid Addr means every local address.
type Front struct {
	Addr  netip.Addr
	Proto uint8
	Port  uint16
}

// Pool is one service port, seen with one traffic policy.
type Pool struct {
	Name     string // shown in the kernel's dump: "default/web:http"
	Rank     int64  // who has a front that two claim: the lower
	Fronts   []Front
	Backends []netip.AddrPort // in any order, no doubles
	Proto    uint8
	Affinity bool // one client, one backend
	Drop     bool // without backends: drop instead of refusing
}

// Shape is what happens at a front. The zero Shape is no front.
type Shape struct {
	Do   Do
	Size int // backends, for Random and Hash
}

// Do is the kind of answer.
type Do uint8

// The kinds of answers.
const (
	Random Do = iota + 1
	Hash
	Refuse
	Drop
)

// Slot is a numbered place behind a front.
type Slot struct {
	Front Front
	N     uint32
}

// Change is a value before and after; the zero value means absent.
type Change[V comparable] struct{ Old, New V }

// Changes are the elements that differ since the last Take.
type Changes struct {
	Fronts map[Front]Change[Shape]
	Slots  map[Slot]Change[netip.AddrPort]
	Locals map[netip.Addr]Change[bool] // addresses of this node's pods
	Names  map[Front]string            // of the pools that have the fronts

	// GoneUDP are backends, and NewUDP fronts, whose UDP conversations are
	// tracked under a decision that no longer holds.
	GoneUDP []netip.AddrPort
	NewUDP  []Front
}

// Empty reports whether nothing differs.
func (c *Changes) Empty() bool {
	return len(c.Fronts) == 0 && len(c.Slots) == 0 && len(c.Locals) == 0
}

const protoUDP = 17

type pool struct {
	Pool
	owner string
	slots []netip.AddrPort // never changed in place
}

// entry is what the kernel is told about a front.
type entry struct {
	name  string
	shape Shape
	slots []netip.AddrPort
}

func (p *pool) entry() entry {
	e := entry{name: p.Name, slots: p.slots, shape: Shape{Random, len(p.slots)}}
	switch {
	case len(p.slots) > 0 && p.Affinity:
		e.shape.Do = Hash
	case len(p.slots) == 0 && p.Drop:
		e.shape.Do = Drop
	case len(p.slots) == 0:
		e.shape.Do = Refuse
	}
	return e
}

// Table holds every pool of a node. It is for one goroutine.
type Table struct {
	owners map[string]map[string]*pool // by owner, pool's name
	claims map[Front][]*pool           // the first one has it
	local  map[string]netip.Addr       // by owner
	locals map[netip.Addr]int          // owners that have it

	told       map[Front]entry // what the last Take led to
	toldLocals map[netip.Addr]bool
	touched    map[Front]bool
	touchedAt  map[netip.Addr]bool
}

// NewTable returns an empty table.
func NewTable() *Table {
	t := &Table{owners: map[string]map[string]*pool{}, claims: map[Front][]*pool{}, local: map[string]netip.Addr{}, locals: map[netip.Addr]int{}}
	t.forget()
	return t
}

func (t *Table) forget() {
	t.told, t.toldLocals = map[Front]entry{}, map[netip.Addr]bool{}
	t.touched, t.touchedAt = map[Front]bool{}, map[netip.Addr]bool{}
}

// Set replaces all pools of an owner, say "service/default/web"; none removes it.
func (t *Table) Set(owner string, pools []Pool) {
	old := t.owners[owner]
	now := map[string]*pool{}
	for _, want := range pools {
		p := old[want.Name]
		if p == nil {
			p = &pool{owner: owner}
		}
		now[want.Name] = p
		was := p.Fronts
		p.Pool, p.slots = want, place(p.slots, want)
		t.claim(p, was)
	}
	for name, p := range old {
		if now[name] == nil {
			was := p.Fronts
			p.Fronts = nil
			t.claim(p, was)
		}
	}
	if t.owners[owner] = now; len(now) == 0 {
		delete(t.owners, owner)
	}
}

// claim brings the claims to fronts in line with a pool whose fronts were was.
func (t *Table) claim(p *pool, was []Front) {
	for _, f := range append(slices.Clone(was), p.Fronts...) {
		t.touched[f] = true
		all := slices.DeleteFunc(t.claims[f], func(q *pool) bool { return q == p })
		if slices.Contains(p.Fronts, f) {
			all = append(all, p)
			slices.SortStableFunc(all, func(a, b *pool) int {
				return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.owner, b.owner), cmp.Compare(a.Name, b.Name))
			})
		}
		if t.claims[f] = all; len(all) == 0 {
			delete(t.claims, f)
		}
	}
}

// SetLocal sets the address of a pod of this node, "pod/default/web-0"; an
// invalid one if it has none any more. A new pod may have an address before the
// old one is forgotten.
func (t *Table) SetLocal(owner string, a netip.Addr) {
	if was, ok := t.local[owner]; ok {
		t.touchedAt[was] = true
		if t.locals[was]--; t.locals[was] == 0 {
			delete(t.locals, was)
		}
		delete(t.local, owner)
	}
	if a.IsValid() {
		t.touchedAt[a] = true
		t.local[owner] = a
		t.locals[a]++
	}
}

// place returns the backends in slots, moving as few as it can from where they
// were. With affinity the order is the addresses', the same on every node.
func place(old []netip.AddrPort, want Pool) []netip.AddrPort {
	if want.Affinity {
		s := slices.Clone(want.Backends)
		slices.SortFunc(s, netip.AddrPort.Compare)
		return s
	}
	missing := make(map[netip.AddrPort]bool, len(want.Backends))
	for _, b := range want.Backends {
		missing[b] = true
	}
	s := slices.Clone(old)
	for i := 0; i < len(s); {
		if missing[s[i]] {
			delete(missing, s[i])
			i++
			continue
		}
		s[i] = s[len(s)-1]
		s = s[:len(s)-1]
	}
	for _, b := range want.Backends {
		if missing[b] {
			s = append(s, b)
		}
	}
	return s
}

// Take returns what changed since the last Take, and counts it as done.
func (t *Table) Take() *Changes {
	c := &Changes{
		Fronts: map[Front]Change[Shape]{}, Slots: map[Slot]Change[netip.AddrPort]{},
		Locals: map[netip.Addr]Change[bool]{}, Names: map[Front]string{},
	}
	for f := range t.touched {
		var is entry
		if all := t.claims[f]; len(all) > 0 {
			is = all[0].entry()
		}
		c.add(f, t.told[f], is)
		if t.told[f] = is; is.shape.Do == 0 {
			delete(t.told, f)
		}
	}
	for a := range t.touchedAt {
		was, is := t.toldLocals[a], t.locals[a] > 0
		if was != is {
			c.Locals[a] = Change[bool]{was, is}
		}
		if t.toldLocals[a] = is; !is {
			delete(t.toldLocals, a)
		}
	}
	clear(t.touched)
	clear(t.touchedAt)
	return c
}

func (c *Changes) add(f Front, was, is entry) {
	if was.shape != is.shape || was.name != is.name {
		c.Fronts[f] = Change[Shape]{was.shape, is.shape}
		c.Names[f] = is.name
	}
	if f.Proto == protoUDP && was.shape.Do == 0 {
		c.NewUDP = append(c.NewUDP, f)
	}
	for i := range max(len(was.slots), len(is.slots)) {
		var from, to netip.AddrPort
		if i < len(was.slots) {
			from = was.slots[i]
		}
		if i < len(is.slots) {
			to = is.slots[i]
		}
		if from == to {
			continue
		}
		c.Slots[Slot{f, uint32(i)}] = Change[netip.AddrPort]{from, to}
		if f.Proto == protoUDP && from.IsValid() && !slices.Contains(is.slots, from) {
			c.GoneUDP = append(c.GoneUDP, from)
		}
	}
}

// All returns everything as new and counts it as done: for a kernel table that
// is made afresh.
func (t *Table) All() *Changes {
	t.forget()
	for f := range t.claims {
		t.touched[f] = true
	}
	for a := range t.locals {
		t.touchedAt[a] = true
	}
	return t.Take()
}
