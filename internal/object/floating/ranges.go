package floating

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Range is addresses from First to Last, both included, IPv4.
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

func parseRange(s string) (Range, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		n, err := netip.ParsePrefix(s)
		if err != nil || !n.Addr().Is4() {
			return Range{}, fmt.Errorf("%q is no IPv4 network: write 192.0.2.0/28, or 192.0.2.5-192.0.2.9 for a range", s)
		}
		b := n.Masked().Addr().As4()
		for bit := n.Bits(); bit < 32; bit++ {
			b[bit/8] |= 1 << (7 - bit%8)
		}
		return Range{n.Masked().Addr(), netip.AddrFrom4(b)}, nil
	}
	r := Range{}
	var errFirst, errLast error
	r.First, errFirst = netip.ParseAddr(strings.TrimSpace(first))
	r.Last, errLast = netip.ParseAddr(strings.TrimSpace(last))
	if errFirst != nil || errLast != nil || !r.First.Is4() || !r.Last.Is4() || r.Last.Less(r.First) {
		return Range{}, fmt.Errorf("%q is no range of IPv4 addresses: write the first, a hyphen and the last", s)
	}
	return r, nil
}

// Contains reports whether the range has the address.
func (r Range) Contains(a netip.Addr) bool {
	return a.Is4() && !a.Less(r.First) && !r.Last.Less(a)
}

// Overlaps reports whether the range and the network share an address.
func (r Range) Overlaps(n netip.Prefix) bool {
	return n.Contains(r.First) || n.Contains(r.Last) || r.Contains(n.Masked().Addr())
}

// Size returns how many addresses the range has.
func (r Range) Size() uint64 { return uint64(number(r.Last)) - uint64(number(r.First)) + 1 }

// At returns the address at a place below Size.
func (r Range) At(i uint64) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(r.First)+uint32(i))
	return netip.AddrFrom4(b)
}

func number(a netip.Addr) uint32 { return binary.BigEndian.Uint32(a.AsSlice()) }
