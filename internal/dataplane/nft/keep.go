package nft

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"trireme/internal/dataplane/balance"
	"trireme/internal/dataplane/link"
)

// A service may want to see its clients' addresses also where a client enters at a
// node that has none of its pods. There the source stays (chain leaving). On the
// pod's node the connection is marked with the node that it came from, answers take
// the route of marked packets into the overlay (link), and the frame gets that node's
// hardware address as it leaves: no route could choose among nodes by a mark.

// markKept is on the first packet of a connection whose source stays.
const markKept = 0x6000_0000

// Peers are the other nodes: their addresses, and their hardware addresses in the
// overlay by the mark that means them.
type Peers struct {
	Addresses []netip.Addr
	Marks     map[uint32]net.HardwareAddr
}

// keep marks new connections from outside to such a service. Another node's own
// source would not be accepted by that node, so it is not kept.
func (t *Table) keep(c *nftables.Chain) {
	outside := one(t.source(regTest), &expr.Lookup{SourceRegister: regTest, SetName: t.maps.nodes.Name, SetID: t.maps.nodes.ID, Invert: true})
	mark := setMark(markKept)
	has := func(s *nftables.Set, reg uint32) []expr.Any {
		return one(&expr.Lookup{SourceRegister: reg, SetName: s.Name, SetID: s.ID})
	}
	t.add(c, rule(one(t.destination(t.regAddr)), t.protoPort(), has(t.maps.keptVips, t.regAddr), outside, mark))
	t.add(c, rule(toLocal(), t.protoPort(), has(t.maps.keptPorts, t.regProto), outside, mark))
}

// markIs matches packets whose mark has that value under a mask.
func markIs(load expr.Any, value, mask uint32) []expr.Any {
	return one(load,
		&expr.Bitwise{SourceRegister: regTest, DestRegister: regTest, Len: 4, Mask: native(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regTest, Data: native(value)})
}

func setMark(v uint32) []expr.Any {
	return one(&expr.Immediate{Register: regTest, Data: native(v)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: regTest, SourceRegister: true})
}

func packetMark() expr.Any { return &expr.Meta{Key: expr.MetaKeyMARK, Register: regTest} }

func connectionMark() expr.Any { return &expr.Ct{Key: expr.CtKeyMARK, Register: regTest} }

// entering marks connections from outside that come in by the overlay with the node
// they entered at, and their answers.
func (t *Table) entering(b Base) {
	c := t.base("entering", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityMangle)
	fromOverlay := func(op expr.CmpOp) []expr.Any {
		return one(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: unix.NFT_REG_1}, &expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: interfaceName(b.Overlay)})
	}
	t.add(c, rule(fromOverlay(expr.CmpOpEq), newConnection(), in(t.source, b.PodCIDR, false),
		one(load(expr.PayloadBaseLLHeader, 6, 6, unix.NFT_REG_1), lookup(t.maps.entries, unix.NFT_REG_1, regTest),
			&expr.Ct{Key: expr.CtKeyMARK, Register: regTest, SourceRegister: true})))
	t.add(c, rule(fromOverlay(expr.CmpOpNeq), markIs(connectionMark(), link.MarkBack, link.MarkMask),
		one(connectionMark(), &expr.Meta{Key: expr.MetaKeyMARK, Register: regTest, SourceRegister: true})))
}

func (t *Table) kept(c *balance.Changes) []edit {
	vips, ports := edit{set: t.maps.keptVips}, edit{set: t.maps.keptPorts}
	for f, v := range c.Kept {
		e := &ports
		if f.Addr.IsValid() {
			e = &vips
		}
		el := nftables.SetElement{Key: frontKey(f)}
		if v.New {
			e.add = append(e.add, el)
		} else {
			e.del = append(e.del, el)
		}
	}
	return []edit{vips, ports}
}

// Meet tells the kernel of the other nodes. The overlay's link exists if there are any.
func (t *Table) Meet(overlay string, want Peers) error {
	was := t.peers
	t.peers = want
	if t.maps.nodes == nil {
		return nil // Rebuild has them
	}
	if err := t.meet(was, want); err != nil {
		return err
	}
	if err := t.flush(); err != nil {
		return fmt.Errorf("writing table %s: %w", t.table.Name, err)
	}
	return t.writeFrames(overlay)
}

// writeFrames replaces the table of frames. A transaction of its own: it fails where
// the overlay's link has gone.
func (t *Table) writeFrames(overlay string) error {
	t.conn.AddTable(t.frames())
	t.conn.DelTable(t.frames())
	if len(t.peers.Marks) > 0 {
		if err := t.addFrames(overlay, t.peers.Marks); err != nil {
			return err
		}
	}
	if err := t.flush(); err != nil {
		return fmt.Errorf("writing the table of the frames of %s: %w", overlay, err)
	}
	return nil
}

// meet adds what differs between peers to the transaction.
func (t *Table) meet(was, is Peers) error {
	nodes, entries := edit{set: t.maps.nodes}, edit{set: t.maps.entries}
	differ := map[netip.Addr]int{}
	for _, a := range was.Addresses {
		differ[a]--
	}
	for _, a := range is.Addresses {
		differ[a]++
	}
	for a, n := range differ {
		switch {
		case n < 0:
			nodes.del = append(nodes.del, nftables.SetElement{Key: a.AsSlice()})
		case n > 0:
			nodes.add = append(nodes.add, nftables.SetElement{Key: a.AsSlice()})
		}
	}
	for mark, mac := range was.Marks {
		if is.Marks[mark].String() != mac.String() {
			entries.del = append(entries.del, nftables.SetElement{Key: mac, Val: native(mark)})
		}
	}
	for mark, mac := range is.Marks {
		if was.Marks[mark].String() != mac.String() {
			entries.add = append(entries.add, nftables.SetElement{Key: mac, Val: native(mark)})
		}
	}
	return t.write([]edit{nodes, entries})
}

// frames is the table of what leaves by the overlay's link, of our name too. Frames are of
// no family, so that there is one for each: who has the first takes the mark away.
func (t *Table) frames() *nftables.Table {
	name := t.table.Name
	if !t.v4() {
		name += "-6"
	}
	return &nftables.Table{Family: nftables.TableFamilyNetdev, Name: name}
}

func (t *Table) addFrames(overlay string, marks map[uint32]net.HardwareAddr) error {
	table := t.frames()
	t.conn.AddTable(table)
	to := &nftables.Set{
		Table: table, Name: "entries", KeyType: nftables.TypeMark, KeyByteOrder: binaryutil.NativeEndian,
		IsMap: true, DataType: nftables.TypeEtherAddr,
	}
	if err := t.addSet(to); err != nil {
		return err
	}
	e := edit{set: to}
	for mark, mac := range marks {
		e.add = append(e.add, nftables.SetElement{Key: native(mark), Val: mac})
	}
	if err := t.write([]edit{e}); err != nil {
		return err
	}
	c := t.conn.AddChain(&nftables.Chain{
		Table: table, Name: "answers", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookEgress, Priority: nftables.ChainPriorityFilter, Device: overlay,
	})
	t.conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: rule(
		markIs(packetMark(), link.MarkBack, link.MarkMask),
		one(packetMark(), lookup(to, regTest, unix.NFT_REG_1),
			&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: unix.NFT_REG_1, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: 6}),
		setMark(0))}) // VXLAN looks for its own way by the frame's mark: by this one into itself
	return nil
}
