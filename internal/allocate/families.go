package allocate

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// clusterIPs settles a service's families and gives it an address of each.
func (a *Allocator) clusterIPs(tx *store.Tx, svc, old *corev1.Service) error {
	s := &svc.Spec
	if s.ClusterIP == "" && len(s.ClusterIPs) > 0 {
		s.ClusterIP = s.ClusterIPs[0]
	}
	if s.ClusterIP != "" && len(s.ClusterIPs) == 0 {
		s.ClusterIPs = []string{s.ClusterIP}
	}
	if err := a.families(svc, old); err != nil {
		return err
	}
	if s.ClusterIP == corev1.ClusterIPNone {
		s.ClusterIPs = []string{corev1.ClusterIPNone}
		return nil
	}
	s.ClusterIPs = slices.Clone(s.ClusterIPs[:min(len(s.ClusterIPs), len(s.IPFamilies))])
	for i, f := range s.IPFamilies {
		if i < len(s.ClusterIPs) {
			if err := a.named(tx, svc, s.ClusterIPs[i]); err != nil {
				return err
			}
			continue
		}
		ranges := a.ranges(tx, f)
		ip, ok := a.freeIP(tx, svc, ranges)
		if !ok {
			return invalid("spec.clusterIPs", "Invalid value: []: failed to allocate a serviceIP: every address of %s is taken: a ServiceCIDR adds more", list(ranges))
		}
		s.ClusterIPs = append(s.ClusterIPs, ip)
	}
	s.ClusterIP = s.ClusterIPs[0]
	return nil
}

// families settles which families the service has, the primary one first, from its
// policy, what it names, its addresses and what it had (Kubernetes, "IPv4/IPv6
// dual-stack", Services).
func (a *Allocator) families(svc, old *corev1.Service) error {
	s, cluster := &svc.Spec, family.Families(a.cfg.ServiceCIDRs)
	headless := s.ClusterIP == corev1.ClusterIPNone
	loose := headless && len(s.Selector) == 0 // its owner writes the slices, of whichever family
	var wants []corev1.IPFamily
	for i, ip := range s.ClusterIPs {
		f := family.Text(ip)
		switch {
		case headless:
		case i < len(s.IPFamilies) && s.IPFamilies[i] != f:
			return invalid(fmt.Sprintf("spec.clusterIPs[%d]", i), "Invalid value: %q: expected an %s value as indicated by `ipFamilies[%d]`", ip, s.IPFamilies[i], i)
		default:
			wants = append(wants, f)
		}
	}
	named := max(len(wants), len(s.IPFamilies))
	if len(s.IPFamilies) > len(wants) {
		wants = append(wants, s.IPFamilies[len(wants):]...)
	}
	if s.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		if named == 2 || loose && len(wants) == 0 {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		s.IPFamilyPolicy = &policy
	}
	single := *s.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
	if single && named == 2 {
		if !shrinks(s, old) {
			return invalid("spec.ipFamilyPolicy", "Invalid value: %q: must be RequireDualStack or PreferDualStack when multiple cluster IPs or ipFamilies are specified", *s.IPFamilyPolicy)
		}
		wants, s.ClusterIPs = wants[:1], s.ClusterIPs[:min(1, len(s.ClusterIPs))]
	}
	if len(wants) == 0 {
		wants = append(wants, cluster[0])
	}
	both := loose || len(cluster) == 2
	if len(wants) == 1 && !single && (both || *s.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack) {
		wants = append(wants, family.Other(wants[0]))
	}
	if !loose {
		if err := configured(wants, cluster, *s.IPFamilyPolicy); err != nil {
			return err
		}
	}
	s.IPFamilies = wants
	return nil
}

// configured refuses families that the cluster does not have.
func configured(wants, cluster []corev1.IPFamily, policy corev1.IPFamilyPolicy) error {
	if policy == corev1.IPFamilyPolicyRequireDualStack && len(cluster) < 2 {
		return invalid("spec.ipFamilyPolicy", "Invalid value: %q: this cluster is not configured for dual-stack services: its --service-cidr has one family", policy)
	}
	for i, f := range wants {
		if !slices.Contains(cluster, f) {
			return invalid(fmt.Sprintf("spec.ipFamilies[%d]", i), "Invalid value: %q: not configured on this cluster", f)
		}
	}
	return nil
}

// shrinks reports whether a service of two families is to have one from now on, and
// says nothing else of its addresses than before.
func shrinks(s *corev1.ServiceSpec, old *corev1.Service) bool {
	if old == nil || old.Spec.IPFamilyPolicy == nil || *old.Spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		return false
	}
	o := &old.Spec
	same := len(s.ClusterIPs) < 2 || slices.Equal(s.ClusterIPs, o.ClusterIPs)
	return same && (len(s.IPFamilies) < 2 || slices.Equal(s.IPFamilies, o.IPFamilies))
}

// named checks an address that a service asks for.
func (a *Allocator) named(tx *store.Tx, svc *corev1.Service, text string) error {
	ranges := a.ranges(tx, family.Text(text))
	ip, err := netip.ParseAddr(text)
	key, taken := other(tx, svc, tables.ServicesByIP, text)
	owner, kept := a.reserved()[ip]
	refuse := func(format string, args ...any) error {
		return invalid("spec.clusterIPs", "Invalid value: [%q]: failed to allocate IP %s: %s", text, text, fmt.Sprintf(format, args...))
	}
	switch holder := heldBy(tx, text); {
	case (err != nil || !within(ranges, ip)) && !has(tx, svc, text):
		return refuse("the provided IP is not in the valid range. The range of valid IPs is %s", list(ranges))
	case kept && owner != object.KeyOf(svc):
		return refuse("it is kept for service %s", owner)
	case taken:
		return refuse("provided IP is already allocated (to service %s)", key)
	case holder != "" && !has(tx, svc, text):
		return refuse("provided IP is already allocated (to %s, by its IPAddress)", holder)
	}
	return nil
}

// has reports whether the service has the address already: its range may be on its way
// out.
func has(tx *store.Tx, svc *corev1.Service, ip string) bool {
	old, ok := tables.Services.Get(tx, object.KeyOf(svc))
	return ok && slices.Contains(family.ClusterIPs(old), ip)
}
