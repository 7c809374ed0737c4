package allocate

import (
	"encoding/binary"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// managedBy is what Kubernetes' own allocator of cluster IPs signs its IPAddresses with.
const managedBy = "ipallocator.k8s.io"

// ranges returns the networks of a family's cluster IPs: the cluster's own, then those
// of ServiceCIDRs that are not on their way out (Kubernetes, "Extend Service IP Ranges").
func (a *Allocator) ranges(tx *store.Tx, f corev1.IPFamily) []netip.Prefix {
	own := family.Pick(a.cfg.ServiceCIDRs, f)
	if !own.IsValid() {
		return nil
	}
	all := []netip.Prefix{own}
	for c := range tables.ServiceCIDRs.All(tx) {
		if c.DeletionTimestamp != nil {
			continue
		}
		nets, _ := a.networks(c)
		if p := family.Pick(nets, f); p.IsValid() && p != own {
			all = append(all, p)
		}
	}
	return all
}

// networks returns the networks that a ServiceCIDR gives addresses of, or why it gives
// none.
func (a *Allocator) networks(c *networkingv1.ServiceCIDR) (all []netip.Prefix, why string) {
	for _, text := range c.Spec.CIDRs {
		p, err := netip.ParsePrefix(text)
		if err != nil || !family.Pick(a.cfg.ServiceCIDRs, family.Of(p.Addr())).IsValid() {
			continue
		}
		if pods := family.Pick(a.cfg.PodCIDRs, family.Of(p.Addr())); pods.IsValid() && p.Overlaps(pods) {
			return nil, "the range " + p.String() + " overlaps the pod network " + pods.String()
		}
		all = append(all, p.Masked())
	}
	if len(all) == 0 {
		return nil, "no range is of an address family that the cluster's services have"
	}
	return all, ""
}

// pool is the part of a range that is given out to who asks for no address by name.
type pool struct {
	base  netip.Addr
	count uint32
}

// poolBitsMax bounds a pool of IPv6, as Kubernetes bounds the network.
const poolBitsMax = 20

func (a *Allocator) pool(p netip.Prefix) pool {
	bits := p.Addr().BitLen() - p.Bits()
	if p.Addr().Is6() {
		bits = min(bits, poolBitsMax)
	}
	size := uint32(1) << bits
	base := p.Masked().Addr()
	switch {
	case a.own(p):
		return pool{plus(base, reservedHosts), size - reservedHosts - 1}
	case size <= 2:
		return pool{base, size}
	}
	return pool{base.Next(), size - 2}
}

// own reports whether the network is one of those that the cluster was made with.
func (a *Allocator) own(p netip.Prefix) bool { return slices.Contains(a.cfg.ServiceCIDRs, p) }

func (p pool) at(i uint32) netip.Addr { return plus(p.base, i%p.count) }

// plus returns the n-th address after a.
func plus(a netip.Addr, n uint32) netip.Addr {
	b := a.AsSlice()
	tail := b[len(b)-4:]
	binary.BigEndian.PutUint32(tail, binary.BigEndian.Uint32(tail)+n)
	out, _ := netip.AddrFromSlice(b)
	return out
}

// within reports whether a service may ask for the address: a range holds it, and it is
// neither that network's own nor its broadcast address.
func within(ranges []netip.Prefix, ip netip.Addr) bool {
	for _, p := range ranges {
		if p.Contains(ip) && (p.Bits() > p.Addr().BitLen()-2 || ip != p.Addr() && p.Contains(ip.Next())) {
			return true
		}
	}
	return false
}

// freeIP starts at a place that depends on the service's name, so that an
// address that was just freed is rarely the next one given out.
func (a *Allocator) freeIP(tx *store.Tx, svc *corev1.Service, ranges []netip.Prefix) (string, bool) {
	start := hash(object.KeyOf(svc).String() + string(svc.UID))
	for _, p := range ranges {
		pool := a.pool(p)
		for i := range pool.count {
			addr := pool.at(start%pool.count + i)
			ip := addr.String()
			if _, taken := other(tx, svc, tables.ServicesByIP, ip); taken {
				continue
			}
			if _, kept := a.reserved()[addr]; kept && !a.own(p) {
				continue
			}
			if heldBy(tx, ip) == "" {
				return ip, true
			}
		}
	}
	return "", false
}

// heldBy returns who but a service keeps the address, by an IPAddress of his own; empty:
// nobody.
func heldBy(tx *store.Tx, ip string) string {
	o, ok := tables.IPAddresses.Get(tx, object.Key{Name: ip})
	if !ok || ours(o) || o.Spec.ParentRef == nil {
		return ""
	}
	ref := o.Spec.ParentRef
	return ref.Resource + " " + object.Key{Namespace: ref.Namespace, Name: ref.Name}.String()
}

// ours reports whether the IPAddress follows a service's row.
func ours(o *networkingv1.IPAddress) bool { return o.Labels[networkingv1.LabelManagedBy] == managedBy }
