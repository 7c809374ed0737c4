package floating

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/family"
)

// Range is addresses of one family from First to Last, both included.
type Range struct{ First, Last netip.Addr }

// Ranges returns what the pool has, in the order in which it names it.
func (p *Pool) Ranges() ([]Range, error) {
	var all []Range
	for i, s := range p.Spec.Addresses {
		r, err := parseRange(s)
		if err != nil {
			return nil, fmt.Errorf("spec.addresses[%d]: %w", i, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// anycastBits is up to which length the first address of a network of IPv6 is every
// router's on it (RFC 4291, section 2.6.1), and so nobody's to give out.
const anycastBits = 64

func parseRange(s string) (Range, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		n, err := netip.ParsePrefix(s)
		if err != nil || n.Addr().Is4In6() {
			return Range{}, fmt.Errorf("%q is no network: write 192.0.2.0/28 or 2001:db8::/120, or 192.0.2.5-192.0.2.9 for a range", s)
		}
		r := Range{n.Masked().Addr(), n.Masked().Addr()}
		b := r.Last.AsSlice()
		for bit := n.Bits(); bit < 8*len(b); bit++ {
			b[bit/8] |= 1 << (7 - bit%8)
		}
		r.Last, _ = netip.AddrFromSlice(b)
		if r.First.Is6() && n.Bits() <= anycastBits {
			r.First = r.First.Next()
		}
		return r, nil
	}
	r := Range{}
	var errFirst, errLast error
	r.First, errFirst = ParseAddr(strings.TrimSpace(first))
	r.Last, errLast = ParseAddr(strings.TrimSpace(last))
	if errFirst != nil || errLast != nil || r.First.BitLen() != r.Last.BitLen() || r.Last.Less(r.First) {
		return Range{}, fmt.Errorf("%q is no range of addresses: write the first, a hyphen and the last, of one family", s)
	}
	return r, nil
}

// ParseAddr reads an address that a node can answer for.
func ParseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("%q is no IP address such as 192.0.2.5 or 2001:db8::5", s)
	}
	return a, nil
}

// Family returns the family of the range's addresses.
func (r Range) Family() corev1.IPFamily { return family.Of(r.First) }

// Contains reports whether the range has the address.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && !a.Less(r.First) && !r.Last.Less(a)
}

// Overlaps reports whether the range and the network share an address.
func (r Range) Overlaps(n netip.Prefix) bool {
	return n.Contains(r.First) || n.Contains(r.Last) || r.Contains(n.Masked().Addr())
}

// sizeMax bounds how much of a range is given out to who wishes for no address.
const sizeMax = 1 << 32

// Size returns how many addresses of the range At names: all, or the first sizeMax.
func (r Range) Size() uint64 {
	firstHigh, first := number(r.First)
	lastHigh, last := number(r.Last)
	low, borrow := bits.Sub64(last, first, 0)
	if high, _ := bits.Sub64(lastHigh, firstHigh, borrow); high > 0 {
		return sizeMax
	}
	return min(low, sizeMax-1) + 1
}

// At returns the address at a place below Size.
func (r Range) At(i uint64) netip.Addr {
	high, low := number(r.First)
	low, carry := bits.Add64(low, i, 0)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], high+carry)
	binary.BigEndian.PutUint64(b[8:], low)
	if r.First.Is4() {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

// number returns an address as a number of 128 bits.
func number(a netip.Addr) (high, low uint64) {
	if a.Is4() {
		return 0, uint64(binary.BigEndian.Uint32(a.AsSlice()))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}
