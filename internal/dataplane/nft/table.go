package nft

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"trireme/internal/dataplane/balance"
	"trireme/internal/dataplane/filter"
)

// Base is what the rules beside the maps depend on.
type Base struct {
	PodCIDR, ServiceCIDR netip.Prefix // of the cluster
	Outs                 netip.Prefix // what tenants' networks leave by, one address each
	DNS                  netip.Addr
	Gateway              netip.Addr // of this node's pods; invalid: not known yet
	Overlay              string     // link name
	PodLinks             string     // what the names of pods' links begin with
	Tunnel               string     // the link that alone may carry overlays; empty: any
	Foreign              bool       // this node's pods need not be of PodCIDR: somebody else chooses their addresses
}

// Table is one nftables table, of one address family.
type Table struct {
	family

	netns  int
	conn   *nftables.Conn
	peers  Peers         // what the kernel was told
	socket *netlink.Conn // conn's
	table  *nftables.Table
	maps   maps
	picks  map[string]bool // chains random-N and hash-N that exist
	sets   uint32          // IDs given to sets
}

type maps struct {
	vips, ports, emptyVips, emptyPorts, vipBackends, portBackends, hairpin *nftables.Set

	vipClients, portClients, vipSticky, portSticky *nftables.Set

	insideVips, insidePorts, insideVipTo, insidePortTo *nftables.Set

	fromVips, fromPorts *nftables.Set
	isolated            [2]*nftables.Set // by filter.Way
	closed              *nftables.Set

	floating, floatIn, floatOut *nftables.Set

	keptVips, keptPorts, nodes, entries *nftables.Set
}

// Open returns the table of that name and family in a network namespace (0: the
// thread's), whether or not it exists. Close it.
func Open(netns int, name string, v6 bool) (*Table, error) {
	t := &Table{family: ipv4, netns: netns}
	if v6 {
		t.family = ipv6
	}
	t.table = &nftables.Table{Family: t.family.table, Name: name}
	return t, t.connect()
}

// flushMax bounds the wait for the kernel's answers to one transaction.
const flushMax = 30 * time.Second

// connect opens a connection that stays: closing one waits until the kernel has
// destroyed what the last transaction deleted, some 10 ms.
func (t *Table) connect() error {
	t.Close()
	big := func(c *netlink.Conn) error { // one transaction is one write, and may hold every service
		t.socket = c
		return errors.Join(c.SetWriteBuffer(64<<20), c.SetReadBuffer(64<<20))
	}
	conn, err := nftables.New(nftables.WithNetNSFd(t.netns), nftables.WithSockOptions(big), nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	t.conn = conn
	return nil
}

// Close closes the connection; the kernel's table stays.
func (t *Table) Close() {
	if t.conn != nil {
		_ = t.conn.CloseLasting() // nothing is pending
		t.conn = nil
	}
}

// flush sends the transaction. After an error the connection is made anew: it
// may hold answers that nobody read.
func (t *Table) flush() error {
	err := t.socket.SetReadDeadline(time.Now().Add(flushMax))
	if err == nil {
		err = t.conn.Flush()
	}
	if err != nil {
		return errors.Join(err, t.connect())
	}
	return nil
}

// Remove deletes the table. A table that is not there is no error.
func (t *Table) Remove() error {
	for _, table := range []*nftables.Table{t.table, t.frames()} {
		t.conn.DelTable(table)
		if err := t.flush(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("deleting table %s: %w", table.Name, err)
		}
	}
	return nil
}

// Rebuild replaces the whole table in one transaction; connections that are
// established go on.
func (t *Table) Rebuild(b Base, all *balance.Changes, policies *filter.Changes) error {
	t.conn.AddTable(t.table)
	t.conn.DelTable(t.table)
	t.conn.AddTable(t.table)
	t.picks = map[string]bool{}
	if err := t.addMaps(); err != nil {
		return err
	}
	t.addChains(b)
	if err := t.meet(Peers{}, t.peers); err != nil {
		return err
	}
	if err := t.Apply(all, policies); err != nil {
		return err
	}
	return t.writeFrames(b.Overlay)
}

func (t *Table) addMaps() error {
	cat := nftables.MustConcatSetType
	addr, proto, port := t.addr, nftables.TypeInetProto, nftables.TypeInetService
	n := nftables.TypeMark // what nft prints as a number of four bytes
	set := func(name string, key nftables.SetDatatype, data *nftables.SetDatatype) *nftables.Set {
		s := &nftables.Set{Table: t.table, Name: name, KeyType: key, KeyByteOrder: binaryutil.BigEndian}
		if data != nil {
			s.IsMap, s.DataType = true, *data
		}
		return s
	}
	backend, front := cat(addr, port), cat(addr, proto, port)
	t.maps = maps{
		vips:         set("vips", cat(addr, proto, port), &nftables.TypeVerdict),
		ports:        set("ports", cat(proto, port), &nftables.TypeVerdict),
		emptyVips:    set("empty-vips", cat(addr, proto, port), &nftables.TypeVerdict),
		emptyPorts:   set("empty-ports", cat(proto, port), &nftables.TypeVerdict),
		vipBackends:  set("vip-backends", cat(addr, proto, port, n), &backend),
		portBackends: set("port-backends", cat(proto, port, n), &backend),
		hairpin:      set("hairpin", cat(addr, addr), nil),
		vipClients:   memory(set("vip-clients", cat(addr, addr, proto, port), &backend)),
		portClients:  memory(set("port-clients", cat(addr, proto, port), &backend)),
		vipSticky:    set("vip-sticky", cat(addr, proto, port, addr, port), nil),
		portSticky:   set("port-sticky", cat(proto, port, addr, port), nil),
		insideVips:   set("inside-vips", cat(addr, proto, port), &nftables.TypeVerdict),
		insidePorts:  set("inside-ports", cat(proto, port), &nftables.TypeVerdict),
		insideVipTo:  set("inside-vip-to", cat(addr, proto, port), &front),
		insidePortTo: set("inside-port-to", cat(proto, port), &front),
		floating:     set("floating", addr, nil),
		floatIn:      set("float-in", addr, &addr),
		floatOut:     set("float-out", addr, &addr),
		fromVips:     set("from-vips", cat(addr, proto, port), &nftables.TypeVerdict),
		fromPorts:    set("from-ports", cat(proto, port), &nftables.TypeVerdict),
		keptVips:     set("kept-vips", cat(addr, proto, port), nil),
		keptPorts:    set("kept-ports", cat(proto, port), nil),
		nodes:        set("nodes", addr, nil),
		entries:      set("entries", nftables.TypeEtherAddr, &n),
		closed:       set("closed", addr, nil),
		isolated:     [2]*nftables.Set{set("isolated-in", addr, &nftables.TypeVerdict), set("isolated-out", addr, &nftables.TypeVerdict)},
	}
	m := &t.maps
	all := []*nftables.Set{m.vips, m.ports, m.emptyVips, m.emptyPorts, m.vipBackends, m.portBackends, m.hairpin,
		m.vipClients, m.portClients, m.vipSticky, m.portSticky,
		m.insideVips, m.insidePorts, m.insideVipTo, m.insidePortTo, m.fromVips, m.fromPorts, m.isolated[0], m.isolated[1], m.closed,
		m.floating, m.floatIn, m.floatOut, m.keptVips, m.keptPorts, m.nodes, m.entries}
	for _, s := range all {
		if err := t.addSet(s); err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) addSet(s *nftables.Set) error {
	t.sets++
	s.ID = t.sets // of this transaction; the library's own count is not safe beside another Table
	if err := t.conn.AddSet(s, nil); err != nil {
		return fmt.Errorf("adding set %s: %w", s.Name, err)
	}
	return nil
}

// lookup finds what lies at reg in a map; a miss ends the rule.
func lookup(s *nftables.Set, reg, into uint32) expr.Any {
	return &expr.Lookup{SourceRegister: reg, DestRegister: into, IsDestRegSet: true, SetName: s.Name, SetID: s.ID}
}

// pick makes sure that the chain of a shape exists and returns its name.
func (t *Table) pick(s balance.Shape) string {
	name := fmt.Sprintf("random-%d", s.Size)
	if s.Do == balance.Hash {
		name = fmt.Sprintf("hash-%d-%ds", s.Size, s.Stick)
	}
	if t.picks[name] {
		return name
	}
	t.picks[name] = true
	c := t.chain(name)
	if s.Do == balance.Hash {
		t.remember(c, s)
		return name
	}
	choose := one(&expr.Numgen{Register: t.regN, Modulus: uint32(s.Size), Type: unix.NFT_NG_RANDOM})
	dnat := t.destinationNAT(t.regBackend, t.regTo)
	t.add(c, rule(one(t.destination(t.regAddr)), t.protoPort(), choose, one(lookup(t.maps.vipBackends, t.regAddr, t.regBackend)), dnat))
	t.add(c, rule(t.protoPort(), choose, one(lookup(t.maps.portBackends, t.regProto, t.regBackend)), dnat))
	return name
}

func (t *Table) add(c *nftables.Chain, e []expr.Any) {
	t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: c, Exprs: e})
}

// elementsMax keeps one message below the 64 KiB of a netlink attribute.
const elementsMax = 256

type edit struct {
	set      *nftables.Set
	del, add []nftables.SetElement
}

// Apply writes changes in one transaction.
func (t *Table) Apply(c *balance.Changes, policies *filter.Changes) error {
	if err := t.addGuards(c); err != nil {
		return err
	}
	edits := append(t.fronts(c), t.slots(c)...)
	edits = append(edits, t.guards(c)...)
	edits = append(edits, t.sticky(c)...)
	edits = append(edits, t.insides(c)...)
	edits = append(edits, t.hairpins(c))
	edits = append(edits, t.floats(c)...)
	edits = append(edits, t.kept(c)...)
	if err := t.write(edits); err != nil {
		return err
	}
	for _, name := range c.GoneGuards {
		t.conn.DelChain(&nftables.Chain{Table: t.table, Name: name})
		t.conn.DelSet(&nftables.Set{Table: t.table, Name: name})
	}
	if err := t.filter(policies); err != nil {
		return err
	}
	if err := t.flush(); err != nil {
		return fmt.Errorf("writing table %s: %w", t.table.Name, err)
	}
	return nil
}

// write adds edits of elements to the transaction.
func (t *Table) write(edits []edit) error {
	for _, e := range edits {
		for part := range slices.Chunk(e.del, elementsMax) {
			if err := t.conn.SetDeleteElements(e.set, part); err != nil {
				return err
			}
		}
		for part := range slices.Chunk(e.add, elementsMax) {
			if err := t.conn.SetAddElements(e.set, part); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Table) slots(c *balance.Changes) []edit {
	vips, ports := edit{set: t.maps.vipBackends}, edit{set: t.maps.portBackends}
	for s, v := range c.Slots {
		e := &ports
		if s.Front.Addr.IsValid() {
			e = &vips
		}
		key := append(frontKey(s.Front), native(s.N)...)
		if v.Old.IsValid() {
			e.del = append(e.del, nftables.SetElement{Key: key})
		}
		if v.New.IsValid() {
			e.add = append(e.add, nftables.SetElement{Key: key, Val: append(v.New.Addr().AsSlice(), portKey(v.New.Port())...)})
		}
	}
	return []edit{vips, ports}
}

func (t *Table) hairpins(c *balance.Changes) edit {
	e := edit{set: t.maps.hairpin}
	for a, v := range c.Locals {
		el := nftables.SetElement{Key: append(a.AsSlice(), a.AsSlice()...)}
		if v.Old {
			e.del = append(e.del, el)
		}
		if v.New {
			e.add = append(e.add, el)
		}
	}
	return e
}

func (t *Table) fronts(c *balance.Changes) []edit {
	vips, ports := edit{set: t.maps.vips}, edit{set: t.maps.ports}
	emptyVips, emptyPorts := edit{set: t.maps.emptyVips}, edit{set: t.maps.emptyPorts}
	at := func(f balance.Front, s balance.Shape) *edit {
		full := s.Do == balance.Random || s.Do == balance.Hash
		switch {
		case full && f.Addr.IsValid():
			return &vips
		case full:
			return &ports
		case f.Addr.IsValid():
			return &emptyVips
		}
		return &emptyPorts
	}
	for f, v := range c.Fronts {
		key := frontKey(f)
		if v.Old.Do != 0 {
			e := at(f, v.Old)
			e.del = append(e.del, nftables.SetElement{Key: key})
		}
		if v.New.Do != 0 {
			e := at(f, v.New)
			e.add = append(e.add, nftables.SetElement{Key: key, VerdictData: t.verdict(v.New), Comment: comment(c.Names[f])})
		}
	}
	return []edit{vips, ports, emptyVips, emptyPorts}
}

func (t *Table) verdict(s balance.Shape) *expr.Verdict {
	switch s.Do {
	case balance.Refuse:
		return &expr.Verdict{Kind: expr.VerdictGoto, Chain: "refuse"}
	case balance.Drop:
		return &expr.Verdict{Kind: expr.VerdictDrop}
	}
	return &expr.Verdict{Kind: expr.VerdictGoto, Chain: t.pick(s)}
}

func frontKey(f balance.Front) []byte {
	key := append([]byte{f.Proto, 0, 0, 0}, portKey(f.Port)...)
	if f.Addr.IsValid() {
		key = append(f.Addr.AsSlice(), key...)
	}
	return key
}

func portKey(p uint16) []byte { return []byte{byte(p >> 8), byte(p), 0, 0} }

// comment cuts a name to what nft shows.
func comment(s string) string { return s[:min(len(s), 120)] }
