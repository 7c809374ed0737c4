package validate

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// sessionSecondsMax is how long a client may be kept at one endpoint.
const sessionSecondsMax = 86400

// sessionAffinity checks whether, and for how long, a client stays at one endpoint.
func sessionAffinity(s *corev1.ServiceSpec, at *field.Path) field.ErrorList {
	p := at.Child("sessionAffinityConfig")
	config := s.SessionAffinityConfig
	switch s.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if config != nil {
			return field.ErrorList{field.Forbidden(p, "must not be set when session affinity is None")}
		}
	case corev1.ServiceAffinityClientIP:
		if config == nil || config.ClientIP == nil || config.ClientIP.TimeoutSeconds == nil {
			return field.ErrorList{field.Required(p, "when session affinity type is ClientIP")}
		}
		if n := *config.ClientIP.TimeoutSeconds; n <= 0 || n > sessionSecondsMax {
			return field.ErrorList{field.Invalid(p.Child("clientIP", "timeoutSeconds"), n, "must be greater than 0 and less than or equal to 86400")}
		}
	default:
		return oneOf(s.SessionAffinity, at.Child("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	}
	return nil
}

// traffic checks the fields that belong to some types of services only.
func traffic(s *corev1.ServiceSpec, at *field.Path) (errs field.ErrorList) {
	lb := s.Type == corev1.ServiceTypeLoadBalancer
	outside := lb || s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeClusterIP && len(s.ExternalIPs) > 0
	local := s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	switch {
	case s.ExternalTrafficPolicy == "":
	case !outside:
		errs = append(errs, field.Invalid(at.Child("externalTrafficPolicy"), s.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	default:
		errs = append(errs, oneOf(s.ExternalTrafficPolicy, at.Child("externalTrafficPolicy"), corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	}
	if n := s.HealthCheckNodePort; n != 0 {
		if !lb || !local {
			errs = append(errs, field.Invalid(at.Child("healthCheckNodePort"), n, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
		} else {
			errs = append(errs, portNumber(n, at.Child("healthCheckNodePort"))...)
		}
	}
	if p := s.InternalTrafficPolicy; p != nil {
		errs = append(errs, oneOf(*p, at.Child("internalTrafficPolicy"), corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	}
	if d := s.TrafficDistribution; d != nil {
		errs = append(errs, oneOf(*d, at.Child("trafficDistribution"), corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	return append(errs, balancer(s, lb, at)...)
}

func balancer(s *corev1.ServiceSpec, lb bool, at *field.Path) (errs field.ErrorList) {
	if c := s.LoadBalancerClass; c != nil {
		if !lb {
			errs = append(errs, field.Forbidden(at.Child("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'"))
		}
		for _, msg := range validation.IsQualifiedName(*c) {
			errs = append(errs, field.Invalid(at.Child("loadBalancerClass"), *c, msg))
		}
	}
	if s.AllocateLoadBalancerNodePorts != nil && !lb {
		errs = append(errs, field.Forbidden(at.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"))
	}
	if len(s.LoadBalancerSourceRanges) > 0 && !lb {
		errs = append(errs, field.Forbidden(at.Child("LoadBalancerSourceRanges"), "may only be used when `type` is 'LoadBalancer'"))
	}
	for i, r := range s.LoadBalancerSourceRanges {
		if _, err := netip.ParsePrefix(strings.TrimSpace(r)); err != nil {
			errs = append(errs, field.Invalid(at.Child("loadBalancerSourceRanges").Index(i), r, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"))
		}
	}
	return errs
}

// externalName checks a service that is another name for a DNS name.
func externalName(s *corev1.ServiceSpec, at *field.Path) (errs field.ErrorList) {
	if s.ExternalName == "" {
		errs = append(errs, field.Required(at.Child("externalName"), ""))
	} else {
		errs = append(errs, subdomain(strings.TrimSuffix(s.ExternalName, "."), at.Child("externalName"))...)
	}
	const words = "may not be set for ExternalName services"
	if s.ClusterIP != "" || len(s.ClusterIPs) > 0 {
		errs = append(errs, field.Forbidden(at.Child("clusterIPs"), words))
	}
	if len(s.IPFamilies) > 0 {
		errs = append(errs, field.Forbidden(at.Child("ipFamilies"), words))
	}
	if s.IPFamilyPolicy != nil {
		errs = append(errs, field.Forbidden(at.Child("ipFamilyPolicy"), words))
	}
	if s.InternalTrafficPolicy != nil {
		errs = append(errs, field.Forbidden(at.Child("internalTrafficPolicy"), words))
	}
	return append(errs, traffic(s, at)...)
}

// reachable refuses addresses that never lead to another machine.
func reachable(ip netip.Addr) string {
	switch {
	case ip.IsUnspecified():
		return "may not be unspecified (" + ip.String() + ")"
	case ip.IsLoopback():
		return "may not be in the loopback range (127.0.0.0/8, ::1/128)"
	case ip.IsLinkLocalUnicast():
		return "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
	case ip.IsLinkLocalMulticast():
		return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
	}
	return ""
}

func externalIPs(list []string, at *field.Path) (errs field.ErrorList) {
	for i, text := range list {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			errs = append(errs, field.Invalid(at.Index(i), text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))
		} else if why := reachable(ip); why != "" {
			errs = append(errs, field.Invalid(at.Index(i), text, why))
		}
	}
	return errs
}

// serviceUpdate keeps the addresses of a service as long as its type has some.
func serviceUpdate(next, old *corev1.Service) (errs field.ErrorList) {
	at := field.NewPath("spec")
	n, o := &next.Spec, &old.Spec
	if o.Type != corev1.ServiceTypeExternalName && n.Type != corev1.ServiceTypeExternalName && o.ClusterIP != "" {
		errs = append(errs, apivalidation.ValidateImmutableField(n.ClusterIP, o.ClusterIP, at.Child("clusterIP"))...)
		if len(o.ClusterIPs) > 0 && len(n.ClusterIPs) > 0 {
			errs = append(errs, apivalidation.ValidateImmutableField(n.ClusterIPs[0], o.ClusterIPs[0], at.Child("clusterIPs").Index(0))...)
		}
		if len(o.IPFamilies) > 0 && len(n.IPFamilies) > 0 && n.IPFamilies[0] != o.IPFamilies[0] {
			errs = append(errs, field.Invalid(at.Child("ipFamilies").Index(0), n.IPFamilies[0], "primary ipFamily can not be unset"))
		}
	}
	if o.Type == corev1.ServiceTypeLoadBalancer && n.Type == corev1.ServiceTypeLoadBalancer {
		errs = append(errs, apivalidation.ValidateImmutableField(n.LoadBalancerClass, o.LoadBalancerClass, at.Child("loadBalancerClass"))...)
	}
	return errs
}
