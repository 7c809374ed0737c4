package nft

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"trireme/internal/dataplane/balance"
)

// A service whose traffic from outside keeps to its nodes answers pods and nodes with
// all its backends, those of its cluster address: inside-vip-to and inside-port-to
// lead one front's key to another's.

// inside matches clients inside the cluster: pods, and the node itself.
func (t *Table) inside(b Base, hook *nftables.ChainHook) []expr.Any {
	if hook == nftables.ChainHookOutput {
		return nil
	}
	return in(t.source, b.PodCIDR, true)
}

// exempt keeps the answers for fronts without backends from those who are led elsewhere.
func (t *Table) exempt(c *nftables.Chain, who []expr.Any) {
	accept := verdict(expr.VerdictAccept, "")
	t.add(c, rule(who, newConnection(), one(t.destination(t.regAddr)), t.protoPort(), one(lookup(t.maps.insideVipTo, t.regAddr, t.regVia)), accept))
	t.add(c, rule(who, newConnection(), toLocal(), t.protoPort(), one(lookup(t.maps.insidePortTo, t.regProto, t.regVia)), accept))
}

// leadInside asks for such fronts before all others.
func (t *Table) leadInside(c *nftables.Chain, who []expr.Any) {
	t.add(c, rule(who, t.byAddress(t.maps.insideVips)))
	t.add(c, rule(who, t.byPort(t.maps.insidePorts)))
}

// via makes sure that the chain for n backends of another front exists.
func (t *Table) via(n int) string {
	name := fmt.Sprintf("inside-%d", n)
	if t.picks[name] {
		return name
	}
	t.picks[name] = true
	c := t.chain(name)
	choose := one(&expr.Numgen{Register: t.regViaN, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM})
	backend := one(lookup(t.maps.vipBackends, t.regVia, t.regBackend))
	dnat := t.destinationNAT(t.regBackend, t.regTo)
	t.add(c, rule(one(t.destination(t.regAddr)), t.protoPort(), one(lookup(t.maps.insideVipTo, t.regAddr, t.regVia)), choose, backend, dnat))
	t.add(c, rule(t.protoPort(), one(lookup(t.maps.insidePortTo, t.regProto, t.regVia)), choose, backend, dnat))
	return name
}

func (t *Table) insides(c *balance.Changes) []edit {
	vips, ports := edit{set: t.maps.insideVips}, edit{set: t.maps.insidePorts}
	vipTo, portTo := edit{set: t.maps.insideVipTo}, edit{set: t.maps.insidePortTo}
	for f, v := range c.Inside {
		at, to := &ports, &portTo
		if f.Addr.IsValid() {
			at, to = &vips, &vipTo
		}
		key := frontKey(f)
		if v.Old.Size > 0 {
			at.del = append(at.del, nftables.SetElement{Key: key})
			to.del = append(to.del, nftables.SetElement{Key: key})
		}
		if v.New.Size > 0 {
			lead := &expr.Verdict{Kind: expr.VerdictGoto, Chain: t.via(v.New.Size)}
			at.add = append(at.add, nftables.SetElement{Key: key, VerdictData: lead, Comment: comment(c.Names[f])})
			to.add = append(to.add, nftables.SetElement{Key: key, Val: frontKey(v.New.Front)})
		}
	}
	return []edit{vips, ports, vipTo, portTo}
}
