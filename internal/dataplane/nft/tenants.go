package nft

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tenants keeps the networks of tenants out of the cluster's and of each other. What
// leaves one by its address of Base.Outs is somebody from outside: it may call the mesh,
// and no pod, no service and no network beside that. Of a pod that is not on the cluster's
// network its node hears questions for names, and answers to its own probes.
func (t *Table) tenants(b Base) {
	refuse := verdict(expr.VerdictGoto, "refuse")
	from, to := in(t.source, b.Outs, true), in(t.destination, b.Outs, true)
	before := t.base("tenants", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, beforeNAT)
	t.add(before, rule(from, in(t.destination, b.ServiceCIDR, true), refuse))
	past := t.base("tenants-past", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	t.add(past, rule(newConnection(), to, refuse))
	t.add(past, rule(newConnection(), from, in(t.destination, b.PodCIDR, true), translatedIs(false), refuse))

	own := t.base("closed-in", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	closed := rule(newConnection(), one(t.source(t.regAddr), find(t.maps.closed, t.regAddr)))
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		t.add(own, rule(closed, in(t.destination, host(b.DNS), true), isProto(proto, true), toPort(dnsPort, dnsPort), verdict(expr.VerdictAccept, "")))
	}
	t.add(own, rule(closed, refuse))
}

const dnsPort = 53

// toClosed matches packets to pods that are on tenants' networks only.
func (t *Table) toClosed() []expr.Any {
	return one(t.destination(t.regAddr), find(t.maps.closed, t.regAddr))
}
