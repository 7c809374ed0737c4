// Package family says which address families there are in a cluster and in a service.
// It is pure.
//
// A cluster has one family or both: its networks come in lists of at most two, one
// prefix a family, and the first of a list is the primary one. Nothing else in the
// project asks whether an address is of four bytes or of sixteen to decide whose it is.
package family

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Of returns an address's family; addresses of one family that are written as the
// other's count as what they are written as.
func Of(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// Text returns the family of an address in text; IPv4 where it is none.
func Text(ip string) corev1.IPFamily {
	if strings.Contains(ip, ":") {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// Other returns the other family.
func Other(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// Pick returns the prefix of a family; the zero Prefix: there is none.
func Pick(all []netip.Prefix, f corev1.IPFamily) netip.Prefix {
	for _, p := range all {
		if Of(p.Addr()) == f {
			return p
		}
	}
	return netip.Prefix{}
}

// Families returns the families of prefixes, in their order.
func Families(all []netip.Prefix) []corev1.IPFamily {
	out := make([]corev1.IPFamily, len(all))
	for i, p := range all {
		out[i] = Of(p.Addr())
	}
	return out
}

// Prefixes reads networks, "10.128.0.0/10" or "10.128.0.0/10,fd00::/48": one a family.
func Prefixes(text string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		p, err := netip.ParsePrefix(part)
		if err != nil || p.Masked() != p {
			return nil, fmt.Errorf("%q is not a network such as 10.128.0.0/10 or fd00:10::/48", part)
		}
		all = append(all, p)
	}
	return all, once(Families(all))
}

// Addrs reads addresses, "192.0.2.1" or "192.0.2.1,2001:db8::1": one a family.
func Addrs(text string) ([]netip.Addr, error) {
	var all []netip.Addr
	var families []corev1.IPFamily
	for part := range strings.SplitSeq(text, ",") {
		a, err := netip.ParseAddr(part)
		if err != nil {
			return nil, fmt.Errorf("%q is not an IP address", part)
		}
		all, families = append(all, a), append(families, Of(a))
	}
	return all, once(families)
}

func once(all []corev1.IPFamily) error {
	if len(all) > 2 || len(all) == 2 && all[0] == all[1] {
		return errors.New("there may be one of IPv4 and one of IPv6")
	}
	return nil
}

// ClusterIPs returns a service's cluster IPs; none: it is headless, or has none yet.
func ClusterIPs(s *corev1.Service) []string {
	ips := s.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{s.Spec.ClusterIP}
	}
	if ips[0] == "" || ips[0] == corev1.ClusterIPNone {
		return nil
	}
	return ips
}

// OfService returns the families that a service answers in, the primary one first. One
// that does not say has those of its addresses, else IPv4.
func OfService(s *corev1.Service) []corev1.IPFamily {
	if len(s.Spec.IPFamilies) > 0 {
		return s.Spec.IPFamilies
	}
	var out []corev1.IPFamily
	for _, ip := range ClusterIPs(s) {
		out = append(out, Text(ip))
	}
	if len(out) == 0 {
		return []corev1.IPFamily{corev1.IPv4Protocol}
	}
	return out
}

// Answers reports whether a service answers in a family.
func Answers(s *corev1.Service, f corev1.IPFamily) bool { return slices.Contains(OfService(s), f) }
