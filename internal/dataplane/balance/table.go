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

// Shape is what a pool's rule must do. The zero Shape is no pool.
type Shape struct {
	Do   Do
	Size int // backends, for Random and Hash
}

// Do is a pool's kind of answer.
type Do uint8

// The kinds of answers.
const (
	Random Do = iota + 1
	Hash
	Refuse
	Drop
)

// Slot is a numbered place of a backend in a pool.
type Slot struct {
	Pool uint32
	N    uint32
}

// Change is a value before and after; the zero value means absent.
type Change[V comparable] struct{ Old, New V }

// Changes are the elements that differ since the last Take.
type Changes struct {
	Fronts map[Front]Change[uint32]
	Shapes map[uint32]Change[Shape]
	Slots  map[Slot]Change[netip.AddrPort]
	Locals map[netip.Addr]Change[bool]
	Names  map[uint32]string // of the pools in Fronts' New

	// GoneUDP are backends, and NewUDP fronts, whose UDP conversations are
	// tracked under a decision that no longer holds.
	GoneUDP []netip.AddrPort
	NewUDP  []Front
}

// Empty reports whether nothing differs.
func (c *Changes) Empty() bool {
	return len(c.Fronts) == 0 && len(c.Shapes) == 0 && len(c.Slots) == 0 && len(c.Locals) == 0
}

func noChanges() *Changes {
	return &Changes{
		Fronts: map[Front]Change[uint32]{}, Shapes: map[uint32]Change[Shape]{}, Slots: map[Slot]Change[netip.AddrPort]{},
		Locals: map[netip.Addr]Change[bool]{}, Names: map[uint32]string{},
	}
}

func note[K, V comparable](m map[K]Change[V], k K, was, is V) {
	if earlier, ok := m[k]; ok {
		was = earlier.Old
	}
	if was == is {
		delete(m, k)
		return
	}
	m[k] = Change[V]{was, is}
}

const protoUDP = 17

type pool struct {
	Pool
	owner string
	id    uint32
	slots []netip.AddrPort
}

func (p *pool) shape() Shape {
	switch {
	case len(p.slots) > 0 && p.Affinity:
		return Shape{Hash, len(p.slots)}
	case len(p.slots) > 0:
		return Shape{Random, len(p.slots)}
	case p.Drop:
		return Shape{Do: Drop}
	}
	return Shape{Do: Refuse}
}

// Table holds every pool of a node. It is for one goroutine.
type Table struct {
	owners  map[string]map[string]*pool // owner, pool's name
	claims  map[Front][]*pool           // the first one has it
	local   map[string]netip.Addr
	locals  map[netip.Addr]int
	lastID  uint32
	changes *Changes
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{
		owners: map[string]map[string]*pool{}, claims: map[Front][]*pool{},
		local: map[string]netip.Addr{}, locals: map[netip.Addr]int{}, changes: noChanges(),
	}
}

// Set replaces all pools of an owner, say "service/default/web"; none removes it.
func (t *Table) Set(owner string, pools []Pool) {
	old := t.owners[owner]
	now := map[string]*pool{}
	for _, want := range pools {
		p := old[want.Name]
		if p == nil {
			t.lastID++
			p = &pool{owner: owner, id: t.lastID}
		}
		now[want.Name] = p
		t.update(p, want)
	}
	for name, p := range old {
		if now[name] == nil {
			t.remove(p)
		}
	}
	if t.owners[owner] = now; len(now) == 0 {
		delete(t.owners, owner)
	}
}

// SetLocal sets the address of a pod of this node, "pod/default/web-0"; an
// invalid one if it has none any more.
func (t *Table) SetLocal(owner string, a netip.Addr) {
	was := t.local[owner]
	if was == a {
		return
	}
	if was.IsValid() {
		t.countLocal(was, -1)
	}
	if t.local[owner] = a; a.IsValid() {
		t.countLocal(a, 1)
	} else {
		delete(t.local, owner)
	}
}

// countLocal counts the owners of an address: a new pod may have it before the
// old one is forgotten.
func (t *Table) countLocal(a netip.Addr, by int) {
	was := t.locals[a]
	if t.locals[a] += by; t.locals[a] == 0 {
		delete(t.locals, a)
	}
	note(t.changes.Locals, a, was > 0, t.locals[a] > 0)
}

func (t *Table) update(p *pool, want Pool) {
	var was Shape
	if p.Name != "" {
		was = p.shape()
	}
	oldFronts, oldSlots := p.Fronts, p.slots
	p.Pool = want
	p.slots = place(oldSlots, want)
	t.noteSlots(p, oldSlots)
	note(t.changes.Shapes, p.id, was, p.shape())
	for _, f := range oldFronts {
		if !slices.Contains(want.Fronts, f) {
			t.claim(f, p, false)
		}
	}
	for _, f := range want.Fronts {
		t.claim(f, p, true)
	}
}

func (t *Table) remove(p *pool) {
	for _, f := range p.Fronts {
		t.claim(f, p, false)
	}
	was, slots := p.shape(), p.slots
	p.slots = nil
	t.noteSlots(p, slots)
	note(t.changes.Shapes, p.id, was, Shape{})
}

func (t *Table) noteSlots(p *pool, old []netip.AddrPort) {
	for i := range max(len(old), len(p.slots)) {
		var was, is netip.AddrPort
		if i < len(old) {
			was = old[i]
		}
		if i < len(p.slots) {
			is = p.slots[i]
		}
		if was != is {
			note(t.changes.Slots, Slot{p.id, uint32(i)}, was, is)
			if was.IsValid() && p.Proto == protoUDP && !slices.Contains(p.slots, was) {
				t.changes.GoneUDP = append(t.changes.GoneUDP, was)
			}
		}
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

// claim adds or takes back a pool's claim to a front.
func (t *Table) claim(f Front, p *pool, add bool) {
	all := t.claims[f]
	was := holder(all)
	all = slices.DeleteFunc(slices.Clone(all), func(q *pool) bool { return q == p })
	if add {
		all = append(all, p)
		slices.SortStableFunc(all, func(a, b *pool) int {
			return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.owner, b.owner), cmp.Compare(a.Name, b.Name))
		})
	}
	if t.claims[f] = all; len(all) == 0 {
		delete(t.claims, f)
	}
	is := holder(all)
	if was == is {
		return
	}
	note(t.changes.Fronts, f, was, is)
	if is != 0 {
		t.changes.Names[is] = all[0].Name
		if f.Proto == protoUDP {
			t.changes.NewUDP = append(t.changes.NewUDP, f)
		}
	}
}

func holder(all []*pool) uint32 {
	if len(all) == 0 {
		return 0
	}
	return all[0].id
}

// Take returns what changed since the last Take, and forgets it.
func (t *Table) Take() *Changes {
	c := t.changes
	t.changes = noChanges()
	return c
}

// All returns everything as new, and forgets what changed: for a kernel table
// that is made afresh.
func (t *Table) All() *Changes {
	t.changes = noChanges()
	c := noChanges()
	for f, all := range t.claims {
		c.Fronts[f] = Change[uint32]{New: all[0].id}
		c.Names[all[0].id] = all[0].Name
	}
	for _, pools := range t.owners {
		for _, p := range pools {
			c.Shapes[p.id] = Change[Shape]{New: p.shape()}
			for i, b := range p.slots {
				c.Slots[Slot{p.id, uint32(i)}] = Change[netip.AddrPort]{New: b}
			}
		}
	}
	for a := range t.locals {
		c.Locals[a] = Change[bool]{New: true}
	}
	return c
}
