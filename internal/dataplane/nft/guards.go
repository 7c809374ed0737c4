package nft

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"trireme/internal/dataplane/balance"
	"trireme/internal/dataplane/filter"
	"trireme/internal/object/peers"
)

// beforeEmpty is before fronts without backends refuse: who may not call is not told.
var beforeEmpty = nftables.ChainPriorityRef(-111)

// sources asks whether a front answers the client. The node itself may always call.
func (t *Table) sources() {
	c := t.base("sources", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, beforeEmpty)
	first := rule(loopback(expr.MetaKeyIIFTYPE, false), newConnection())
	t.add(c, rule(first, t.byAddress(t.maps.fromVips)))
	t.add(c, rule(first, t.byPort(t.maps.fromPorts)))
}

// addGuards makes the chains and sets of ranges that fronts are going to have.
func (t *Table) addGuards(c *balance.Changes) error {
	for name, from := range c.NewGuards {
		var blocks []peers.Block
		for _, p := range from {
			blocks = append(blocks, peers.Block{CIDR: p})
		}
		set := t.members(name, filter.Ranges)
		if err := t.addSet(set); err != nil {
			return err
		}
		if err := t.write([]edit{{set: set, add: elements(filter.Spans(blocks, !t.v4()))}}); err != nil {
			return err
		}
		chain := t.chain(name)
		t.add(chain, rule(one(t.source(t.regAddr), &expr.Lookup{SourceRegister: t.regAddr, SetName: name}), verdict(expr.VerdictAccept, "")))
		t.add(chain, rule(verdict(expr.VerdictDrop, "")))
	}
	return nil
}

func (t *Table) guards(c *balance.Changes) []edit {
	vips, ports := edit{set: t.maps.fromVips}, edit{set: t.maps.fromPorts}
	for f, v := range c.Guards {
		e := &ports
		if f.Addr.IsValid() {
			e = &vips
		}
		if v.Old != "" {
			e.del = append(e.del, nftables.SetElement{Key: frontKey(f)})
		}
		if v.New != "" {
			to := &expr.Verdict{Kind: expr.VerdictGoto, Chain: v.New}
			e.add = append(e.add, nftables.SetElement{Key: frontKey(f), VerdictData: to, Comment: comment(c.Names[f])})
		}
	}
	return []edit{vips, ports}
}
