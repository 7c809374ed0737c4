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
)

// Base is what the rules beside the maps depend on.
type Base struct {
	PodCIDR, ServiceCIDR netip.Prefix // of the cluster
	DNS                  netip.Addr
	Gateway              netip.Addr // of this node's pods; invalid: not known yet
	Overlay              string     // link name
}

// Table is one nftables table.
type Table struct {
	netns  int
	conn   *nftables.Conn
	socket *netlink.Conn // conn's
	table  *nftables.Table
	maps   maps
	picks  map[string]bool // chains random-N and hash-N that exist
}

type maps struct{ vips, ports, emptyVips, emptyPorts, vipBackends, portBackends, hairpin *nftables.Set }

// Open returns the table of that name in a network namespace (0: the thread's),
// whether or not it exists. Close it.
func Open(netns int, name string) (*Table, error) {
	t := &Table{netns: netns, table: &nftables.Table{Family: nftables.TableFamilyIPv4, Name: name}}
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
	t.conn.DelTable(t.table)
	if err := t.flush(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting table %s: %w", t.table.Name, err)
	}
	return nil
}

// Rebuild replaces the whole table in one transaction; connections that are
// established go on.
func (t *Table) Rebuild(b Base, all *balance.Changes) error {
	t.conn.AddTable(t.table)
	t.conn.DelTable(t.table)
	t.conn.AddTable(t.table)
	t.picks = map[string]bool{}
	if err := t.addMaps(); err != nil {
		return err
	}
	t.addChains(b)
	return t.Apply(all)
}

func (t *Table) addMaps() error {
	cat := nftables.MustConcatSetType
	addr, proto, port := nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService
	n := nftables.TypeMark // what nft prints as a number of four bytes
	set := func(name string, key nftables.SetDatatype, data *nftables.SetDatatype) *nftables.Set {
		s := &nftables.Set{Table: t.table, Name: name, KeyType: key, KeyByteOrder: binaryutil.BigEndian}
		if data != nil {
			s.IsMap, s.DataType = true, *data
		}
		return s
	}
	backend := cat(addr, port)
	t.maps = maps{
		vips:         set("vips", cat(addr, proto, port), &nftables.TypeVerdict),
		ports:        set("ports", cat(proto, port), &nftables.TypeVerdict),
		emptyVips:    set("empty-vips", cat(addr, proto, port), &nftables.TypeVerdict),
		emptyPorts:   set("empty-ports", cat(proto, port), &nftables.TypeVerdict),
		vipBackends:  set("vip-backends", cat(addr, proto, port, n), &backend),
		portBackends: set("port-backends", cat(proto, port, n), &backend),
		hairpin:      set("hairpin", cat(addr, addr), nil),
	}
	m := &t.maps
	for i, s := range []*nftables.Set{m.vips, m.ports, m.emptyVips, m.emptyPorts, m.vipBackends, m.portBackends, m.hairpin} {
		s.ID = uint32(i + 1) // of this transaction; the library's own count is not safe beside another Table
		if err := t.conn.AddSet(s, nil); err != nil {
			return fmt.Errorf("adding map %s: %w", s.Name, err)
		}
	}
	return nil
}

// lookup finds what lies at reg in a map; a miss ends the rule.
func lookup(s *nftables.Set, reg, into uint32) expr.Any {
	return &expr.Lookup{SourceRegister: reg, DestRegister: into, IsDestRegSet: true, SetName: s.Name, SetID: s.ID}
}

// byAddress and byPort follow the verdict of the packet's front.
func byAddress(s *nftables.Set) []expr.Any {
	return rule(one(destination(regAddr)), protoPort(), one(lookup(s, regAddr, regVerdict)))
}

func byPort(s *nftables.Set) []expr.Any {
	return rule(toLocal(), protoPort(), one(lookup(s, regProto, regVerdict)))
}

// pick makes sure that the chain of a shape exists and returns its name.
func (t *Table) pick(s balance.Shape) string {
	name := fmt.Sprintf("random-%d", s.Size)
	choose := one(&expr.Numgen{Register: regN, Modulus: uint32(s.Size), Type: unix.NFT_NG_RANDOM})
	if s.Do == balance.Hash {
		name = fmt.Sprintf("hash-%d", s.Size)
		choose = one(source(regClient), &expr.Hash{
			SourceRegister: regClient, DestRegister: regN, Length: 4, Modulus: uint32(s.Size), Seed: hashSeed, Type: expr.HashTypeJenkins,
		})
		if s.Size == 1 { // the kernel wants a modulus above one
			choose = one(&expr.Immediate{Register: regN, Data: native(0)})
		}
	}
	if t.picks[name] {
		return name
	}
	t.picks[name] = true
	c := t.conn.AddChain(&nftables.Chain{Table: t.table, Name: name})
	dnat := one(&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: regBackend, RegProtoMin: regTo, Specified: true})
	t.add(c, rule(one(destination(regAddr)), protoPort(), choose, one(lookup(t.maps.vipBackends, regAddr, regBackend)), dnat))
	t.add(c, rule(protoPort(), choose, one(lookup(t.maps.portBackends, regProto, regBackend)), dnat))
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
func (t *Table) Apply(c *balance.Changes) error {
	edits := append(t.fronts(c), t.slots(c)...)
	edits = append(edits, t.hairpins(c))
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
	if err := t.flush(); err != nil {
		return fmt.Errorf("writing table %s: %w", t.table.Name, err)
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
