package nft

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Fronts is the addresses of services on a tenant's network, each with those of the pods
// that it leads to, in order.
type Fronts map[netip.Addr][]netip.Addr

// SpaceBase is what the rules of a tenant's network depend on beside its services.
type SpaceBase struct {
	PodLinks string     // what the names of its pods' links begin with
	Out      string     // the link by which it is left; empty: there is none
	Gateway  netip.Addr // an address of the network that no pod has
}

// RebuildSpace replaces the table of a tenant's network in its own namespace. The senders
// of IPv6 are checked, as everywhere; who calls a service's address is led to one of its
// pods, on any port and by any protocol; what goes out leaves from the address of its link.
func (t *Table) RebuildSpace(b SpaceBase, fronts Fronts) error {
	t.picks = map[string]bool{}
	t.conn.AddTable(t.table)
	t.conn.DelTable(t.table)
	t.conn.AddTable(t.table)
	if !t.v4() {
		t.guard(Base{PodLinks: b.PodLinks})
	}
	leaving := t.base("leaving", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	if err := t.lead(b, fronts, leaving); err != nil {
		return err
	}
	if b.Out != "" {
		t.add(leaving, rule(outBy(b.Out), t.sourceNAT(netip.Addr{})))
	}
	if err := t.flush(); err != nil {
		return fmt.Errorf("writing table %s of a network: %w", t.table.Name, err)
	}
	return nil
}

// lead adds what leads to services' pods. A pod that is led to itself sees its gateway
// call: it would not answer itself by the network.
func (t *Table) lead(b SpaceBase, fronts Fronts, leaving *nftables.Chain) error {
	n := nftables.TypeMark
	chosen := &nftables.Set{Table: t.table, Name: "fronts", KeyType: t.addr, DataType: nftables.TypeVerdict, IsMap: true}
	pods := &nftables.Set{Table: t.table, Name: "front-pods", KeyType: nftables.MustConcatSetType(t.addr, n), DataType: t.addr, IsMap: true}
	empty := &nftables.Set{Table: t.table, Name: "empty-fronts", KeyType: t.addr}
	selves := &nftables.Set{Table: t.table, Name: "front-selves", KeyType: nftables.MustConcatSetType(t.addr, t.addr)}
	for _, s := range []*nftables.Set{chosen, pods, empty, selves} {
		s.KeyByteOrder = binaryutil.BigEndian
		if err := t.addSet(s); err != nil {
			return err
		}
	}
	refuse := t.chain("refuse")
	t.add(refuse, rule(isProto(unix.IPPROTO_TCP, true), one(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})))
	t.add(refuse, rule(one(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: t.portGone})))
	nobody := t.base("empty", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, beforeNAT)
	t.add(nobody, rule(newConnection(), one(t.destination(t.regAddr), find(empty, t.regAddr)), verdict(expr.VerdictGoto, "refuse")))
	in := t.base("in", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	t.add(in, one(t.destination(t.regAddr), lookup(chosen, t.regAddr, regVerdict)))
	t.add(leaving, rule(one(t.source(t.regAddr), t.destination(t.regAddr+t.words), find(selves, t.regAddr)), t.sourceNAT(b.Gateway)))

	edits := []edit{{set: chosen}, {set: pods}, {set: empty}, {set: selves}}
	itself := map[netip.Addr]bool{}
	for front, to := range fronts {
		if front.Is4() != t.v4() {
			continue
		}
		if len(to) == 0 {
			edits[2].add = append(edits[2].add, nftables.SetElement{Key: front.AsSlice()})
			continue
		}
		edits[0].add = append(edits[0].add, nftables.SetElement{Key: front.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: t.anyOf(len(to), pods)}})
		for i, pod := range to {
			edits[1].add = append(edits[1].add, nftables.SetElement{Key: append(front.AsSlice(), native(uint32(i))...), Val: pod.AsSlice()})
			if !itself[pod] {
				edits[3].add = append(edits[3].add, nftables.SetElement{Key: append(pod.AsSlice(), pod.AsSlice()...)})
			}
			itself[pod] = true
		}
	}
	return t.write(edits)
}

// find matches what lies at reg in a set.
func find(s *nftables.Set, reg uint32) expr.Any {
	return &expr.Lookup{SourceRegister: reg, SetName: s.Name, SetID: s.ID}
}

// anyOf makes sure that the chain for n pods exists and returns its name.
func (t *Table) anyOf(n int, pods *nftables.Set) string {
	name := fmt.Sprintf("any-%d", n)
	if t.picks[name] {
		return name
	}
	t.picks[name] = true
	number := t.regAddr + t.words // after the address, as the key has them
	t.add(t.chain(name), one(t.destination(t.regAddr), &expr.Numgen{Register: number, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM},
		lookup(pods, t.regAddr, t.regBackend), &expr.NAT{Type: expr.NATTypeDestNAT, Family: t.nat, RegAddrMin: t.regBackend}))
	return name
}
