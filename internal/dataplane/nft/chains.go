package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"trireme/internal/dataplane/link"
)

// Priorities: before connection tracking; after it and before destination NAT.
var (
	beforeTracking = nftables.ChainPriorityRef(-310)
	beforeNAT      = nftables.ChainPriorityRef(-110)
)

func (t *Table) chain(name string) *nftables.Chain {
	return t.conn.AddChain(&nftables.Chain{Table: t.table, Name: name})
}

func (t *Table) base(name string, typ nftables.ChainType, hook *nftables.ChainHook, p *nftables.ChainPriority) *nftables.Chain {
	return t.conn.AddChain(&nftables.Chain{Table: t.table, Name: name, Type: typ, Hooknum: hook, Priority: p})
}

func (t *Table) addChains(b Base) {
	t.guard(b)
	t.seal(b)
	t.sources()
	t.refuse(b)
	t.services(b)
	t.guardFloats()
	t.entering(b)
	t.leaving(b)
	t.isolation()
	t.tenants(b)
}

// guard keeps route_localnet, which lets 127.0.0.1 reach the mesh, from letting
// neighbours reach what listens on 127.0.0.1 (CVE-2020-8558).
//
// IPv6 has no such setting, and drops what comes from outside to [::1] before any chain:
// there it keeps pods from sending from an address that is not theirs, as rp_filter does
// for IPv4.
func (t *Table) guard(b Base) {
	c := t.base("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, beforeTracking)
	if !t.v4() {
		t.add(c, rule(fromPodLinks(b.PodLinks, b.Overlay), unrouted(), verdict(expr.VerdictDrop, "")))
		return
	}
	notLo := loopback(expr.MetaKeyIIFTYPE, false)
	t.add(c, rule(notLo, in(t.destination, t.loopback, true), verdict(expr.VerdictDrop, "")))
	t.add(c, rule(notLo, in(t.source, t.loopback, true), verdict(expr.VerdictDrop, "")))
}

// refuse answers for fronts without backends, before NAT, and for addresses of
// the service range that no service has, after it.
func (t *Table) refuse(b Base) {
	refuse, empty := t.chain("refuse"), t.chain("empty")
	t.add(refuse, rule(isProto(unix.IPPROTO_TCP, true), one(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})))
	t.add(refuse, rule(one(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: t.portGone}))) // port unreachable

	t.add(empty, rule(in(t.destination, host(b.DNS), true), verdict(expr.VerdictReturn, "")))
	t.add(empty, t.byAddress(t.maps.emptyVips))
	t.add(empty, rule(t.isFloating(), verdict(expr.VerdictReturn, "")))
	t.add(empty, t.byPort(t.maps.emptyPorts))

	for name, hook := range map[string]*nftables.ChainHook{"empty-in": nftables.ChainHookPrerouting, "empty-out": nftables.ChainHookOutput} {
		c := t.base(name, nftables.ChainTypeFilter, hook, beforeNAT)
		t.exempt(c, t.inside(b, hook))
		t.add(c, rule(newConnection(), verdict(expr.VerdictJump, "empty")))
	}
	for name, hook := range map[string]*nftables.ChainHook{"stray": nftables.ChainHookForward, "stray-out": nftables.ChainHookOutput} {
		t.add(t.base(name, nftables.ChainTypeFilter, hook, nftables.ChainPriorityFilter),
			rule(in(t.destination, b.ServiceCIDR, true), in(t.destination, host(b.DNS), false), verdict(expr.VerdictGoto, "refuse")))
	}
}

// services leads a new connection to a backend. The cluster's DNS is no service:
// each node answers itself.
func (t *Table) services(b Base) {
	c := t.chain("services")
	t.add(c, rule(in(t.destination, host(b.DNS), true), verdict(expr.VerdictReturn, "")))
	t.add(c, t.byAddress(t.maps.vips))
	t.toFloat(c)
	t.add(c, t.byPort(t.maps.ports))
	for name, hook := range map[string]*nftables.ChainHook{"in": nftables.ChainHookPrerouting, "out": nftables.ChainHookOutput} {
		c := t.base(name, nftables.ChainTypeNAT, hook, nftables.ChainPriorityNATDest)
		t.leadInside(c, t.inside(b, hook))
		if hook == nftables.ChainHookPrerouting {
			t.keep(c)
		}
		t.add(c, verdict(expr.VerdictJump, "services"))
	}
}

// leaving gives a connection a source that its answer finds back to. Inside the
// pod network that is this node's gateway, outside it the node itself. What pods
// say to pods keeps its source, and so does a client from outside whose backend
// is on this node, or wants to see it.
func (t *Table) leaving(b Base) {
	c := t.base("leaving", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	asGateway, asNode := t.sourceNAT(b.Gateway), t.sourceNAT(netip.Addr{})
	fromPods, toPods := in(t.source, b.PodCIDR, true), in(t.destination, b.PodCIDR, true)
	notFromPods, notToPods := in(t.source, b.PodCIDR, false), in(t.destination, b.PodCIDR, false)

	t.add(c, rule(loopback(expr.MetaKeyOIFTYPE, true), verdict(expr.VerdictReturn, "")))
	t.add(c, rule(t.toItself(), asGateway))
	// A pod that leaves by another network knows the way to its node's gateway only; what TCP
	// answers has its address, and goes by that.
	t.add(c, rule(isProto(unix.IPPROTO_UDP, true), t.toClosed(), asGateway))
	t.add(c, rule(in(t.source, t.loopback, true), toPods, asGateway))
	t.add(c, rule(in(t.source, t.loopback, true), asNode))
	t.add(c, rule(outBy(b.Overlay), markIs(packetMark(), markKept, link.MarkMask), verdict(expr.VerdictReturn, "")))
	t.add(c, rule(notFromPods, outBy(b.Overlay), asGateway))
	if b.Foreign { // their addresses are known one by one
		t.add(c, rule(translated(), t.ofPodHere(t.source), verdict(expr.VerdictReturn, "")))
		t.add(c, rule(translated(), t.ofPodHere(t.destination), verdict(expr.VerdictReturn, "")))
	}
	t.add(c, rule(notFromPods, translated(), notToPods, asNode))
	t.add(c, rule(in(t.source, b.Outs, true), notToPods, asNode))
	t.fromFloat(c, notToPods)
	t.add(c, rule(fromPods, notToPods, asNode))
}
