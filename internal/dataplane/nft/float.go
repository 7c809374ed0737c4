package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"trireme/internal/dataplane/balance"
)

// isFloating matches packets to a floating address that this node answers for.
func (t *Table) isFloating() []expr.Any {
	return one(t.destination(t.regAddr), &expr.Lookup{SourceRegister: t.regAddr, SetName: t.maps.floating.Name, SetID: t.maps.floating.ID})
}

// toFloat leads what came for a pod's floating address to the pod, whatever its
// protocol. What no service and no pod has of a floating address is not the node's
// either: its ports are not on it.
func (t *Table) toFloat(c *nftables.Chain) {
	t.add(c, rule(one(t.destination(t.regAddr), lookup(t.maps.floatIn, t.regAddr, t.regBackend),
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: t.nat, RegAddrMin: t.regBackend})))
	t.add(c, rule(t.isFloating(), verdict(expr.VerdictReturn, "")))
}

// guardFloats keeps what listens on the node's every address from being reached
// under a floating one. The node itself answers pings.
func (t *Table) guardFloats() {
	c := t.base("float-guard", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	t.add(c, rule(t.isFloating(), newConnection(), isProto(t.icmp, false), verdict(expr.VerdictGoto, "refuse")))
}

// fromFloat lets a pod leave the cluster under its floating address.
func (t *Table) fromFloat(c *nftables.Chain, notToPods []expr.Any) {
	t.add(c, rule(notToPods, one(t.source(t.regAddr), lookup(t.maps.floatOut, t.regAddr, t.regBackend),
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: t.nat, RegAddrMin: t.regBackend})))
}

func (t *Table) floats(c *balance.Changes) []edit {
	floating, in, out := edit{set: t.maps.floating}, edit{set: t.maps.floatIn}, edit{set: t.maps.floatOut}
	pair := func(key, val netip.Addr) nftables.SetElement {
		return nftables.SetElement{Key: key.AsSlice(), Val: val.AsSlice()}
	}
	for a, v := range c.Floats {
		if v.Old.Here {
			floating.del = append(floating.del, nftables.SetElement{Key: a.AsSlice()})
		}
		if v.New.Here {
			floating.add = append(floating.add, nftables.SetElement{Key: a.AsSlice()})
		}
		if v.Old.Pod.IsValid() {
			in.del = append(in.del, nftables.SetElement{Key: a.AsSlice()})
		}
		if v.New.Pod.IsValid() {
			in.add = append(in.add, pair(a, v.New.Pod))
		}
		if v.Old.Out {
			out.del = append(out.del, nftables.SetElement{Key: v.Old.Pod.AsSlice()})
		}
		if v.New.Out {
			out.add = append(out.add, pair(v.New.Pod, a))
		}
	}
	return []edit{floating, in, out}
}
