package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// family is what differs between IPv4 and IPv6: all rules and maps are written once, in
// terms of it. An address fills one register of four bytes, or four.
type family struct {
	table    nftables.TableFamily
	nat      uint32 // NFPROTO_…
	addr     nftables.SetDatatype
	loopback netip.Prefix

	words            uint32 // registers of an address
	sourceAt, destAt uint32 // in the network header
	icmp, portGone   byte   // protocol; code of "port unreachable"

	// Registers of four bytes. A concatenated key lies in registers that follow each
	// other, each part in its own.
	regAddr, regProto, regPort, regN uint32 // addr . proto . port . n
	regBackend, regTo                uint32 // addr . port
	// The other front's key and n, of chains inside-N.
	regVia, regViaN uint32
	// Of chains with affinity: a client is remembered under client . addr . proto .
	// port, and what it is led to is looked up in addr . proto . port . backend . port,
	// two keys that overlap. regAt is the address that is called; for ports the client.
	regWho, regAt, regAtProto, regAtPort uint32
	regPicked, regPickedTo               uint32 // n, then the backend
}

// regTest is the first of four registers that a rule's tests may use between two keys.
const (
	regVerdict = 0
	regTest    = unix.NFT_REG32_12
)

var (
	ipv4 = layout(family{
		table: nftables.TableFamilyIPv4, nat: unix.NFPROTO_IPV4, addr: nftables.TypeIPAddr, loopback: netip.MustParsePrefix("127.0.0.0/8"),
		words: 1, sourceAt: 12, destAt: 16, icmp: unix.IPPROTO_ICMP, portGone: 3,
	})
	ipv6 = layout(family{
		table: nftables.TableFamilyIPv6, nat: unix.NFPROTO_IPV6, addr: nftables.TypeIP6Addr, loopback: netip.MustParsePrefix("::1/128"),
		words: 4, sourceAt: 8, destAt: 24, icmp: unix.IPPROTO_ICMPV6, portGone: 4,
	})
)

// layout places the keys. What a lookup finds may lie where its key was: the kernel has
// read the key by then.
func layout(f family) family {
	r, w := uint32(unix.NFT_REG32_00), f.words
	f.regAddr, f.regProto, f.regPort, f.regN = r, r+w, r+w+1, r+w+2
	f.regBackend, f.regTo = r+8, r+8+w
	f.regVia, f.regViaN = r+w+3, r+2*w+5
	f.regWho, f.regAt, f.regAtProto, f.regAtPort = r, r+w, r+2*w, r+2*w+1
	f.regPicked, f.regPickedTo = r+2*w+2, r+3*w+2
	return f
}

func (f *family) v4() bool { return f.words == 1 }

func (f *family) source(reg uint32) expr.Any {
	return load(expr.PayloadBaseNetworkHeader, f.sourceAt, 4*f.words, reg)
}

func (f *family) destination(reg uint32) expr.Any {
	return load(expr.PayloadBaseNetworkHeader, f.destAt, 4*f.words, reg)
}

// protoPort loads the protocol and the destination port.
func (f *family) protoPort() []expr.Any {
	return one(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: f.regProto}, load(expr.PayloadBaseTransportHeader, 2, 2, f.regPort))
}

// byAddress and byPort follow the verdict of the packet's front.
func (f *family) byAddress(s *nftables.Set) []expr.Any {
	return rule(one(f.destination(f.regAddr)), f.protoPort(), one(lookup(s, f.regAddr, regVerdict)))
}

func (f *family) byPort(s *nftables.Set) []expr.Any {
	return rule(toLocal(), f.protoPort(), one(lookup(s, f.regProto, regVerdict)))
}

func (f *family) destinationNAT(addr, port uint32) []expr.Any {
	return one(&expr.NAT{Type: expr.NATTypeDestNAT, Family: f.nat, RegAddrMin: addr, RegProtoMin: port, Specified: true})
}

func (f *family) sourceNAT(to netip.Addr) []expr.Any {
	if !to.IsValid() {
		return one(&expr.Masq{})
	}
	return one(&expr.Immediate{Register: f.regBackend, Data: to.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: f.nat, RegAddrMin: f.regBackend})
}
