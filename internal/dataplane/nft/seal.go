package nft

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"trireme/internal/dataplane/link"
)

// seal keeps the packets of overlays within the tunnel, where there is one: none leaves
// beside it, whatever routes say, none is taken that did not come through it, and nothing
// else comes through it.
func (t *Table) seal(b Base) {
	if b.Tunnel == "" {
		return
	}
	name := interfaceName(b.Tunnel)
	by := func(key expr.MetaKey, op expr.CmpOp) []expr.Any {
		return one(&expr.Meta{Key: key, Register: unix.NFT_REG_1}, &expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: name})
	}
	drop := verdict(expr.VerdictDrop, "")
	out := t.base("sealed-out", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	t.add(out, rule(overlayPort(expr.CmpOpEq), by(expr.MetaKeyOIFNAME, expr.CmpOpNeq), drop))
	in := t.base("sealed-in", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	t.add(in, rule(overlayPort(expr.CmpOpEq), by(expr.MetaKeyIIFNAME, expr.CmpOpNeq), drop))
	t.add(in, rule(by(expr.MetaKeyIIFNAME, expr.CmpOpEq), overlayPort(expr.CmpOpNeq), drop))
	t.add(in, rule(by(expr.MetaKeyIIFNAME, expr.CmpOpEq), isProto(unix.IPPROTO_UDP, false), drop))
	past := t.base("sealed-past", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	t.add(past, rule(by(expr.MetaKeyIIFNAME, expr.CmpOpEq), drop))
}

// overlayPort matches UDP to the port of overlays, or what is UDP to other ports.
func overlayPort(op expr.CmpOp) []expr.Any {
	const destinationPort = 2
	return rule(isProto(unix.IPPROTO_UDP, true), one(load(expr.PayloadBaseTransportHeader, destinationPort, 2, regTest),
		&expr.Cmp{Op: op, Register: regTest, Data: binaryutil.BigEndian.PutUint16(link.VXLANPort)}))
}
