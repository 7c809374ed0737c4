package server

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/dataplane"
	"trireme/internal/object/family"
)

// The smallest networks that are taken: a node's subnet is a /24 or a /64, and a
// cluster of one node is not worth a network.
var podBitsMax = map[corev1.IPFamily]int{corev1.IPv4Protocol: 23, corev1.IPv6Protocol: 63}

const (
	serviceBitsMax  = 23 // of IPv4
	serviceBits6Max = 119
)

// validateNetworks checks the addresses and networks: those of pods and services are of
// the same families, in the same order, and the node has an address of the first.
func (c *Config) validateNetworks() error {
	pods, err := family.Prefixes(c.PodCIDR)
	if err != nil {
		return invalid("podCIDR", "%w", err)
	}
	services, err := family.Prefixes(c.ServiceCIDR)
	if err != nil {
		return invalid("serviceCIDR", "%w", err)
	}
	for _, p := range pods {
		if limit := podBitsMax[family.Of(p.Addr())]; p.Bits() > limit {
			return invalid("podCIDR", "%s is too small: a /%d or larger is needed", p, limit)
		}
	}
	for _, p := range services {
		if limit := serviceBitsMax; p.Addr().Is4() && p.Bits() > limit {
			return invalid("serviceCIDR", "%s is too small: a /%d or larger is needed", p, limit)
		} else if p.Addr().Is6() && p.Bits() > serviceBits6Max {
			return invalid("serviceCIDR", "%s is too small: a /%d or larger is needed", p, serviceBits6Max)
		}
		if i := slices.IndexFunc(pods, p.Overlaps); i >= 0 {
			return invalid("podCIDR", "%s overlaps serviceCIDR %s", pods[i], p)
		}
	}
	if !slices.Equal(family.Families(pods), family.Families(services)) {
		return invalid("serviceCIDR", "%s and podCIDR %s are not of the same address families in the same order", c.ServiceCIDR, c.PodCIDR)
	}
	if _, err := family.Addrs(c.Address); err != nil {
		return invalid("address", "%w", err)
	}
	return nil
}

// defaultAddress asks the kernel which addresses it would send from, of the families
// that pods have; nothing is sent.
func defaultAddress(podCIDR string) string {
	var all []string
	for part := range strings.SplitSeq(podCIDR, ",") {
		to := "192.0.2.1"
		if strings.Contains(part, ":") {
			to = "2001:db8::1"
		}
		if c, err := net.Dial("udp", net.JoinHostPort(to, "9")); err == nil {
			all = append(all, c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().String())
			_ = c.Close() // nothing was sent
		}
	}
	if len(all) == 0 {
		return "127.0.0.1"
	}
	return strings.Join(all, ",")
}

// addresses returns this machine's addresses, at most one a family: valid after
// Complete, like all that follows.
func (c *Config) addresses() []netip.Addr { all, _ := family.Addrs(c.Address); return all }

// address returns the one that other machines use.
func (c *Config) address() string { return c.addresses()[0].String() }

func (c *Config) podCIDRs() []netip.Prefix { all, _ := family.Prefixes(c.PodCIDR); return all }

func (c *Config) serviceCIDRs() []netip.Prefix { all, _ := family.Prefixes(c.ServiceCIDR); return all }

// networks returns what the dataplane has to know of each family.
func (c *Config) networks() (out []dataplane.Network) {
	pods := c.podCIDRs()
	for i, services := range c.serviceCIDRs() {
		out = append(out, dataplane.Network{Pods: pods[i], Services: services, DNS: nth(services, 10)})
	}
	return out
}

// hosts returns this machine's addresses for certificates.
func (c *Config) hosts() (out []string) {
	for _, a := range c.addresses() {
		out = append(out, a.String())
	}
	return out
}

// serviceAddress returns the n-th address of the first service network.
func (c *Config) serviceAddress(n int) netip.Addr { return nth(c.serviceCIDRs()[0], n) }

func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Addr()
	for range n {
		a = a.Next()
	}
	return a
}
