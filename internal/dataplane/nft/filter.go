package nft

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"trireme/internal/dataplane/filter"
)

// Priorities: after what refuses strays, the sender's policies before the receiver's.
var (
	ofSender   = nftables.ChainPriorityRef(1)
	ofReceiver = nftables.ChainPriorityRef(2)
)

// isolation asks for each packet that opens a conversation whether its sender, then
// whether its receiver is isolated. A pod that calls itself is never refused.
func (t *Table) isolation() {
	for way, name := range map[filter.Way]string{filter.Out: "egress", filter.In: "ingress"} {
		priority, who := ofSender, t.source
		if way == filter.In {
			priority, who = ofReceiver, t.destination
		}
		c := t.base(name, nftables.ChainTypeFilter, nftables.ChainHookForward, priority)
		t.add(c, rule(inState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept, "")))
		t.add(c, rule(t.toItself(), verdict(expr.VerdictAccept, "")))
		t.add(c, rule(one(who(t.regAddr), lookup(t.maps.isolated[way], t.regAddr, regVerdict))))
	}
}

// filter adds changes of policies to the transaction.
func (t *Table) filter(c *filter.Changes) error {
	for _, s := range c.Sets {
		set := t.members(s.Name, s.Kind)
		if err := t.addSet(set); err != nil {
			return err
		}
		if err := t.write([]edit{{set: set, add: elements(s.Elements)}}); err != nil {
			return err
		}
	}
	for _, chain := range c.Chains {
		t.policy(chain)
	}
	var edits []edit
	for way := range c.Pods {
		edits = append(edits, t.isolated(c, filter.Way(way)))
	}
	closed := edit{set: t.maps.closed}
	for a, v := range c.Closed {
		if e := (nftables.SetElement{Key: a.AsSlice()}); v.New {
			closed.add = append(closed.add, e)
		} else {
			closed.del = append(closed.del, e)
		}
	}
	edits = append(edits, closed)
	for name, d := range c.Elements {
		edits = append(edits, edit{set: t.members(name, d.Kind), del: elements(d.Del), add: elements(d.Add)})
	}
	if err := t.write(edits); err != nil {
		return err
	}
	for _, name := range c.GoneChains {
		t.conn.DelChain(&nftables.Chain{Table: t.table, Name: name})
	}
	for _, name := range c.GoneSets {
		t.conn.DelSet(&nftables.Set{Table: t.table, Name: name})
	}
	return nil
}

// members returns the set of that name, as it is or is to be.
func (t *Table) members(name string, k filter.SetKind) *nftables.Set {
	s := &nftables.Set{Table: t.table, Name: name, KeyType: t.addr, KeyByteOrder: binaryutil.BigEndian, Interval: k == filter.Ranges}
	if k == filter.Ports {
		s.KeyType = nftables.MustConcatSetType(t.addr, nftables.TypeInetProto, nftables.TypeInetService)
	}
	return s
}

// elements writes members as keys. A range is two elements, its first address and
// the one after its last; none ends a range that goes to the end of all addresses.
func elements(all []filter.Element) []nftables.SetElement {
	out := make([]nftables.SetElement, 0, len(all))
	for _, e := range all {
		key := e.Addr.AsSlice()
		if e.Port != 0 {
			key = append(append(key, e.Proto, 0, 0, 0), portKey(e.Port)...)
		}
		out = append(out, nftables.SetElement{Key: key})
		if end := e.Last.Next(); e.Last.IsValid() && end.IsValid() {
			out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}

// isolated leads pods' addresses to their chains.
func (t *Table) isolated(c *filter.Changes, way filter.Way) edit {
	e := edit{set: t.maps.isolated[way]}
	for a, v := range c.Pods[way] {
		if v.Old != "" {
			e.del = append(e.del, nftables.SetElement{Key: a.AsSlice()})
		}
		if v.New != "" {
			e.add = append(e.add, nftables.SetElement{
				Key: a.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: v.New}, Comment: comment(c.Names[a]),
			})
		}
	}
	return e
}

// policy makes a chain with its rules.
func (t *Table) policy(is filter.Chain) {
	c := t.chain(is.Name)
	for _, r := range is.Rules {
		var match []expr.Any
		if r.Set != "" {
			match = t.inSet(r, is.Way)
		}
		if r.Proto != 0 {
			match = append(match, isProto(r.Proto, true)...)
		}
		if r.First != 0 {
			match = append(match, toPort(r.First, r.Last)...)
		}
		then := verdict(expr.VerdictAccept, "")
		if r.Then != "" {
			then = verdict(expr.VerdictJump, r.Then)
		}
		t.add(c, rule(match, then))
	}
	if is.Drop {
		t.add(c, rule(verdict(expr.VerdictDrop, "")))
	}
}

// inSet matches packets whose other side is in a set.
func (t *Table) inSet(r filter.Rule, way filter.Way) []expr.Any {
	other := t.source
	if way == filter.Out {
		other = t.destination
	}
	find := &expr.Lookup{SourceRegister: t.regAddr, SetName: r.Set}
	if r.Kind == filter.Ports {
		return rule(one(other(t.regAddr)), t.protoPort(), one(find))
	}
	return one(other(t.regAddr), find)
}

// toPort matches packets to a port within two.
func toPort(first, last uint16) []expr.Any {
	port := func(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }
	is := one(load(expr.PayloadBaseTransportHeader, 2, 2, regTest))
	if first == last {
		return append(is, &expr.Cmp{Op: expr.CmpOpEq, Register: regTest, Data: port(first)})
	}
	return append(is, &expr.Cmp{Op: expr.CmpOpGte, Register: regTest, Data: port(first)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: regTest, Data: port(last)})
}

// toItself matches what a pod of this node sends to itself.
func (t *Table) toItself() []expr.Any { return t.pairHere(t.source, t.destination) }

// ofPodHere matches packets one of whose addresses is of a pod of this node.
func (t *Table) ofPodHere(which func(uint32) expr.Any) []expr.Any { return t.pairHere(which, which) }

// pairHere matches packets of which two addresses are those of one pod of this node.
func (t *Table) pairHere(first, other func(uint32) expr.Any) []expr.Any {
	return one(first(t.regAddr), other(t.regAddr+t.words), &expr.Lookup{SourceRegister: t.regAddr, SetName: t.maps.hairpin.Name, SetID: t.maps.hairpin.ID})
}
