package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers of four bytes. A concatenated key lies in registers that follow each
// other, each part in its own.
const (
	regVerdict = 0
	regAddr    = unix.NFT_REG32_00 // addr . proto . port . n
	regProto   = unix.NFT_REG32_01
	regPort    = unix.NFT_REG32_02
	regN       = unix.NFT_REG32_03
	regClient  = unix.NFT_REG32_06
	regBackend = unix.NFT_REG32_08 // addr . port
	regTo      = unix.NFT_REG32_09
	regTest    = unix.NFT_REG32_12
	regTest2   = unix.NFT_REG32_13
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

func source(reg uint32) expr.Any { return load(expr.PayloadBaseNetworkHeader, 12, 4, reg) }

func destination(reg uint32) expr.Any { return load(expr.PayloadBaseNetworkHeader, 16, 4, reg) }

// protoPort loads the protocol and the destination port.
func protoPort() []expr.Any {
	return one(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regProto}, load(expr.PayloadBaseTransportHeader, 2, 2, regPort))
}

func in(reg func(uint32) expr.Any, p netip.Prefix, yes bool) []expr.Any {
	op := expr.CmpOpEq
	if !yes {
		op = expr.CmpOpNeq
	}
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-p.Bits()))
	return one(reg(regTest),
		&expr.Bitwise{SourceRegister: regTest, DestRegister: regTest, Len: 4, Mask: mask, Xor: make([]byte, 4)},
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

func outBy(name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return one(&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: unix.NFT_REG_1}, &expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: data})
}

func isProto(p byte, yes bool) []expr.Any {
	op := expr.CmpOpEq
	if !yes {
		op = expr.CmpOpNeq
	}
	return one(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regTest}, &expr.Cmp{Op: op, Register: regTest, Data: []byte{p}})
}

// newConnection matches the first packet of a connection.
func newConnection() []expr.Any {
	return one(&expr.Ct{Key: expr.CtKeySTATE, Register: regTest},
		&expr.Bitwise{SourceRegister: regTest, DestRegister: regTest, Len: 4, Mask: native(expr.CtStateBitNEW), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regTest, Data: make([]byte, 4)})
}

// translated matches packets whose destination a NAT rule has changed.
func translated() []expr.Any {
	const statusDNAT = 1 << 5 // IPS_DST_NAT
	return one(&expr.Ct{Key: expr.CtKeySTATUS, Register: regTest},
		&expr.Bitwise{SourceRegister: regTest, DestRegister: regTest, Len: 4, Mask: native(statusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regTest, Data: make([]byte, 4)})
}

func sourceNAT(to netip.Addr) []expr.Any {
	if !to.IsValid() {
		return one(&expr.Masq{})
	}
	return one(&expr.Immediate{Register: regBackend, Data: to.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: regBackend})
}

func native(v uint32) []byte { return binaryutil.NativeEndian.PutUint32(v) }
