package family

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Faults returns what is wrong with the form of a service's families and cluster IPs;
// whether the cluster has them says allocate.
func Faults(s *corev1.ServiceSpec, at *field.Path) (errs field.ErrorList) {
	known := []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	p := at.Child("ipFamilies")
	if len(s.IPFamilies) > 2 {
		errs = append(errs, field.Invalid(p, s.IPFamilies, "may only hold up to 2 values"))
	}
	for i, f := range s.IPFamilies {
		switch {
		case slices.Contains(s.IPFamilies[:i], f):
			errs = append(errs, field.Duplicate(p.Index(i), f))
		case !slices.Contains(known, f):
			errs = append(errs, field.NotSupported(p.Index(i), f, known))
		}
	}
	policies := []corev1.IPFamilyPolicy{corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack}
	if policy := s.IPFamilyPolicy; policy != nil && !slices.Contains(policies, *policy) {
		errs = append(errs, field.NotSupported(at.Child("ipFamilyPolicy"), *policy, policies))
	}
	return append(errs, clusterIPs(s, at)...)
}

// clusterIPs checks the addresses that a service asks for: at most one a family, or None
// alone.
func clusterIPs(s *corev1.ServiceSpec, at *field.Path) (errs field.ErrorList) {
	p := at.Child("clusterIPs")
	if len(s.ClusterIPs) > 0 && s.ClusterIP != "" && s.ClusterIPs[0] != s.ClusterIP {
		errs = append(errs, field.Invalid(p, s.ClusterIPs, "first value must match `clusterIP`"))
	}
	if len(s.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(p, s.ClusterIPs, "may only hold up to 2 values"))
	}
	all := s.ClusterIPs
	if len(all) == 0 && s.ClusterIP != "" {
		all = []string{s.ClusterIP}
	}
	for i, ip := range all {
		a, err := netip.ParseAddr(ip)
		switch {
		case ip == corev1.ClusterIPNone && len(all) > 1:
			errs = append(errs, field.Invalid(p, all, "'None' must be the first and only value"))
		case ip == corev1.ClusterIPNone:
		case err != nil || a.String() != ip:
			errs = append(errs, field.Invalid(p.Index(i), ip, "must be empty, 'None', or a valid IP address"))
		case i == 1 && Text(ip) == Text(all[0]):
			errs = append(errs, field.Invalid(p, all, "may specify no more than one IP for each IP family"))
		}
	}
	return errs
}
