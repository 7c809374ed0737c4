package nft

import (
	"net"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// hashSeed is the same on every node, so that a client finds the same backend
// whichever node it calls.
const hashSeed = 0x7472696d

// rule joins parts to one rule's expressions.
func rule(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func one(e ...expr.Any) []expr.Any { return e }

func load(base expr.PayloadBase, offset, length, reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length}
}

func in(reg func(uint32) expr.Any, p netip.Prefix, yes bool) []expr.Any {
	op := expr.CmpOpEq
	if !yes {
		op = expr.CmpOpNeq
	}
	mask := net.CIDRMask(p.Bits(), p.Addr().BitLen())
	return one(reg(regTest),
		&expr.Bitwise{SourceRegister: regTest, DestRegister: regTest, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))},
		&expr.Cmp{Op: op, Register: regTest, Data: p.Masked().Addr().AsSlice()})
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func verdict(k expr.VerdictKind, chain string) []expr.Any {
	return one(&expr.Verdict{Kind: k, Chain: chain})
}

// toLocal matches packets to any address of this host.
func toLocal() []expr.Any {
	return one(&expr.Fib{Register: regTest, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regTest, Data: native(unix.RTN_LOCAL)})
}

func loopback(key expr.MetaKey, yes bool) []expr.Any {
	op := expr.CmpOpEq
	if !yes {
		op = expr.CmpOpNeq
	}
	data := binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK)
	return one(&expr.Meta{Key: key, Register: regTest}, &expr.Cmp{Op: op, Register: regTest, Data: data})
}

// fromPodLinks matches what comes from pods' links.
func fromPodLinks(prefix, overlay string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, overlay)
	return one(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte(prefix)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG_1, Data: name})
}

// unrouted matches packets whose sender is not routed to where they come from.
func unrouted() []expr.Any {
	return one(&expr.Fib{Register: regTest, ResultOIF: true, FlagSADDR: true, FlagIIF: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regTest, Data: native(0)})
}

func outBy(name string) []expr.Any {
	return one(&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: unix.NFT_REG_1}, &expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: interfaceName(name)})
}

func interfaceName(name string) []byte {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return data
}

func isProto(p byte, yes bool) []expr.Any {
	op := expr.CmpOpEq
	if !yes {
		op = expr.CmpOpNeq
	}
	return one(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regTest}, &expr.Cmp{Op: op, Register: regTest, Data: []byte{p}})
}

// newConnection matches the first packet of a connection.
func newConnection() []expr.Any { return inState(expr.CtStateBitNEW) }

// inState matches packets of connections in one of the states.
func inState(bits uint32) []expr.Any {
	return one(&expr.Ct{Key: expr.CtKeySTATE, Register: regTest},
		&expr.Bitwise{SourceRegister: regTest, DestRegister: regTest, Len: 4, Mask: native(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regTest, Data: make([]byte, 4)})
}

// translated matches packets whose destination a NAT rule has changed.
func translated() []expr.Any { return translatedIs(true) }

// translatedIs matches them, or all others.
func translatedIs(yes bool) []expr.Any {
	const statusDNAT = 1 << 5 // IPS_DST_NAT
	op := expr.CmpOpEq
	if yes {
		op = expr.CmpOpNeq
	}
	return one(&expr.Ct{Key: expr.CtKeySTATUS, Register: regTest},
		&expr.Bitwise{SourceRegister: regTest, DestRegister: regTest, Len: 4, Mask: native(statusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: regTest, Data: make([]byte, 4)})
}

func native(v uint32) []byte { return binaryutil.NativeEndian.PutUint32(v) }
