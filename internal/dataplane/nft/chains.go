package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Priorities: before connection tracking; after it and before destination NAT.
var (
	beforeTracking = nftables.ChainPriorityRef(-310)
	beforeNAT      = nftables.ChainPriorityRef(-110)
)

var loopbackNet = netip.MustParsePrefix("127.0.0.0/8")

func (t *Table) chain(name string) *nftables.Chain {
	return t.conn.AddChain(&nftables.Chain{Table: t.table, Name: name})
}

func (t *Table) base(name string, typ nftables.ChainType, hook *nftables.ChainHook, p *nftables.ChainPriority) *nftables.Chain {
	return t.conn.AddChain(&nftables.Chain{Table: t.table, Name: name, Type: typ, Hooknum: hook, Priority: p})
}

func (t *Table) addChains(b Base) {
	t.guard()
	t.refuse(b)
	t.services(b)
	t.leaving(b)
}

// guard keeps route_localnet, which lets 127.0.0.1 reach the mesh, from letting
// neighbours reach what listens on 127.0.0.1 (CVE-2020-8558).
func (t *Table) guard() {
	c := t.base("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, beforeTracking)
	notLo := loopback(expr.MetaKeyIIFTYPE, false)
	t.add(c, rule(notLo, in(destination, loopbackNet, true), verdict(expr.VerdictDrop, "")))
	t.add(c, rule(notLo, in(source, loopbackNet, true), verdict(expr.VerdictDrop, "")))
}

// refuse answers for fronts without backends, before NAT, and for addresses of
// the service range that no service has, after it.
func (t *Table) refuse(b Base) {
	refuse, empty := t.chain("refuse"), t.chain("empty")
	t.add(refuse, rule(isProto(unix.IPPROTO_TCP, true), one(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})))
	t.add(refuse, rule(one(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}))) // port unreachable

	t.add(empty, rule(in(destination, host(b.DNS), true), verdict(expr.VerdictReturn, "")))
	t.add(empty, byAddress(t.maps.emptyVips))
	t.add(empty, byPort(t.maps.emptyPorts))

	for name, hook := range map[string]*nftables.ChainHook{"empty-in": nftables.ChainHookPrerouting, "empty-out": nftables.ChainHookOutput} {
		t.add(t.base(name, nftables.ChainTypeFilter, hook, beforeNAT), rule(newConnection(), verdict(expr.VerdictJump, "empty")))
	}
	for name, hook := range map[string]*nftables.ChainHook{"stray": nftables.ChainHookForward, "stray-out": nftables.ChainHookOutput} {
		t.add(t.base(name, nftables.ChainTypeFilter, hook, nftables.ChainPriorityFilter),
			rule(in(destination, b.ServiceCIDR, true), in(destination, host(b.DNS), false), verdict(expr.VerdictGoto, "refuse")))
	}
}

// services leads a new connection to a backend. The cluster's DNS is no service:
// each node answers itself.
func (t *Table) services(b Base) {
	c := t.chain("services")
	t.add(c, rule(in(destination, host(b.DNS), true), verdict(expr.VerdictReturn, "")))
	t.add(c, byAddress(t.maps.vips))
	t.add(c, byPort(t.maps.ports))
	for name, hook := range map[string]*nftables.ChainHook{"in": nftables.ChainHookPrerouting, "out": nftables.ChainHookOutput} {
		t.add(t.base(name, nftables.ChainTypeNAT, hook, nftables.ChainPriorityNATDest), verdict(expr.VerdictJump, "services"))
	}
}

// leaving gives a connection a source that its answer finds back to. Inside the
// pod network that is this node's gateway, outside it the node itself. What pods
// say to pods keeps its source, and so does a client from outside whose backend
// is on this node.
func (t *Table) leaving(b Base) {
	c := t.base("leaving", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	asGateway, asNode := sourceNAT(b.Gateway), sourceNAT(netip.Addr{})
	hairpin := one(source(regAddr), destination(regProto), &expr.Lookup{SourceRegister: regAddr, SetName: t.maps.hairpin.Name, SetID: t.maps.hairpin.ID})
	fromPods, toPods := in(source, b.PodCIDR, true), in(destination, b.PodCIDR, true)
	notFromPods, notToPods := in(source, b.PodCIDR, false), in(destination, b.PodCIDR, false)

	t.add(c, rule(loopback(expr.MetaKeyOIFTYPE, true), verdict(expr.VerdictReturn, "")))
	t.add(c, rule(hairpin, asGateway))
	t.add(c, rule(in(source, loopbackNet, true), toPods, asGateway))
	t.add(c, rule(in(source, loopbackNet, true), asNode))
	t.add(c, rule(notFromPods, outBy(b.Overlay), asGateway))
	t.add(c, rule(notFromPods, translated(), notToPods, asNode))
	t.add(c, rule(fromPods, notToPods, asNode))
}
