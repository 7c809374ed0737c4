package balance

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
	Affinity bool           // one client, one backend
	Stick    uint32         // with Affinity: for how many seconds after its last connection
	Drop     bool           // without backends: drop instead of refusing
	Keep     bool           // backends see the client's address, also on other nodes
	From     []netip.Prefix // whom the fronts answer; nil: everybody
	Via      Via            // whose backends clients inside the cluster get; zero: the same as others
}

// Via is another front and how many backends it has.
type Via struct {
	Front Front
	Size  int
}

// Shape is what happens at a front. The zero Shape is no front.
type Shape struct {
	Do    Do
	Size  int    // backends, for Random and Hash
	Stick uint32 // seconds, for Hash
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

// Stick is a backend of a front with affinity.
type Stick struct {
	Front   Front
	Backend netip.AddrPort
}

// Change is a value before and after; the zero value means absent.
type Change[V comparable] struct{ Old, New V }

// Changes are the elements that differ since the last Take.
type Changes struct {
	Fronts map[Front]Change[Shape]
	Slots  map[Slot]Change[netip.AddrPort]
	Sticky map[Stick]Change[bool]      // where clients may stay
	Locals map[netip.Addr]Change[bool] // addresses of this node's pods
	Inside map[Front]Change[Via]       // for clients inside the cluster
	Kept   map[Front]Change[bool]      // where clients keep their addresses
	Names  map[Front]string            // of the pools that have the fronts
	Floats map[netip.Addr]Change[Float]

	Guards     map[Front]Change[string]  // names of ranges of clients; empty: everybody
	NewGuards  map[string][]netip.Prefix // that were not there before
	GoneGuards []string

	// GoneUDP are backends, and NewUDP fronts, whose UDP conversations are
	// tracked under a decision that no longer holds.
	GoneUDP []netip.AddrPort
	NewUDP  []Front
}

// Empty reports whether nothing differs.
func (c *Changes) Empty() bool {
	return len(c.Fronts) == 0 && len(c.Slots) == 0 && len(c.Locals) == 0 && len(c.Guards) == 0 && len(c.Inside) == 0 && len(c.Kept) == 0 && len(c.Floats) == 0
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
	guard string
	from  []netip.Prefix
	via   Via
	keep  bool
}

func (p *pool) entry() entry {
	e := entry{name: p.Name, slots: p.slots, shape: Shape{Do: Random, Size: len(p.slots)}, guard: guard(p.From), from: p.From, via: p.Via, keep: p.Keep}
	switch {
	case len(p.slots) > 0 && p.Affinity:
		e.shape.Do, e.shape.Stick = Hash, p.Stick
	case len(p.slots) == 0 && p.Drop:
		e.shape.Do = Drop
	case len(p.slots) == 0:
		e.shape.Do = Refuse
	}
	return e
}

// stick notes which backends clients may stay with.
func (c *Changes) stick(f Front, was, is entry) {
	differ := map[netip.AddrPort]Change[bool]{}
	for _, b := range was.sticky() {
		differ[b] = Change[bool]{Old: true}
	}
	for _, b := range is.sticky() {
		differ[b] = Change[bool]{differ[b].Old, true}
	}
	for b, v := range differ {
		if v.Old != v.New {
			c.Sticky[Stick{f, b}] = v
		}
	}
}

// sticky returns the backends that clients stay with.
func (e entry) sticky() []netip.AddrPort {
	if e.shape.Do != Hash {
		return nil
	}
	return e.slots
}

// guard names ranges by what they are; empty for none.
func guard(from []netip.Prefix) string {
	if from == nil {
		return ""
	}
	sorted := slices.SortedFunc(slices.Values(from), netip.Prefix.Compare)
	sum := sha256.Sum256(fmt.Append(nil, sorted))
	return "from-" + hex.EncodeToString(sum[:12])
}

// Table holds every pool of a node. It is for one goroutine.
type Table struct {
	owners map[string]map[string]*pool // by owner, pool's name
	claims map[Front][]*pool           // the first one has it
	local  map[string]netip.Addr       // by owner
	locals map[netip.Addr]int          // owners that have it
	floats map[netip.Addr]Float

	told       map[Front]entry // what the last Take led to
	toldLocals map[netip.Addr]bool
	guards     map[string]int // fronts that have them
	toldFloats map[netip.Addr]Float
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
	t.told, t.toldLocals, t.toldFloats = map[Front]entry{}, map[netip.Addr]bool{}, map[netip.Addr]Float{}
	t.touched, t.touchedAt, t.guards = map[Front]bool{}, map[netip.Addr]bool{}, map[string]int{}
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
		Locals: map[netip.Addr]Change[bool]{}, Names: map[Front]string{}, Floats: t.takeFloats(),
		Inside: map[Front]Change[Via]{}, Kept: map[Front]Change[bool]{}, Sticky: map[Stick]Change[bool]{}, Guards: map[Front]Change[string]{}, NewGuards: map[string][]netip.Prefix{},
	}
	told := map[string]bool{}
	for name := range t.guards {
		told[name] = true
	}
	for f := range t.touched {
		var is entry
		if all := t.claims[f]; len(all) > 0 {
			is = all[0].entry()
		}
		c.add(f, t.told[f], is)
		t.guard(c, f, t.told[f], is)
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
	for name, n := range t.guards {
		if n == 0 {
			delete(t.guards, name)
			if delete(c.NewGuards, name); told[name] {
				c.GoneGuards = append(c.GoneGuards, name)
			}
		}
	}
	clear(t.touched)
	clear(t.touchedAt)
	return c
}

// guard notes whom a front answers.
func (t *Table) guard(c *Changes, f Front, was, is entry) {
	if was.guard == is.guard {
		return
	}
	c.Guards[f] = Change[string]{was.guard, is.guard}
	if was.guard != "" {
		t.guards[was.guard]--
	}
	if is.guard == "" {
		return
	}
	if _, ok := t.guards[is.guard]; !ok {
		c.NewGuards[is.guard] = is.from
	}
	t.guards[is.guard]++
}

func (c *Changes) add(f Front, was, is entry) {
	if was.shape != is.shape || was.name != is.name {
		c.Fronts[f] = Change[Shape]{was.shape, is.shape}
		c.Names[f] = is.name
	}
	c.stick(f, was, is)
	if was.via != is.via {
		c.Inside[f] = Change[Via]{was.via, is.via}
	}
	if was.keep != is.keep {
		c.Kept[f] = Change[bool]{was.keep, is.keep}
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
