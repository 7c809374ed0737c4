package admit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// updateService takes away what belonged to the service's old type, where the
// user did not ask for it anew, and carries over what was allocated where the user
// left it out.
func updateService(next, old *corev1.Service) {
	n, o := &next.Spec, &old.Spec
	if n.ClusterIP != o.ClusterIP && slices.Equal(n.ClusterIPs, o.ClusterIPs) {
		if n.ClusterIPs = nil; n.ClusterIP != "" {
			n.ClusterIPs = []string{n.ClusterIP}
		}
	}
	dropAddresses(n, o)
	dropOutside(n, o)
	keepAddresses(n, o)
}

// unset clears a field that belonged to the old type and stayed as it was.
func unset[T any](next *T, old T) {
	if equality.Semantic.DeepEqual(*next, old) {
		var zero T
		*next = zero
	}
}

// dropAddresses clears what a service that is but a name does not have.
func dropAddresses(n, o *corev1.ServiceSpec) {
	if n.Type != corev1.ServiceTypeExternalName || o.Type == corev1.ServiceTypeExternalName {
		return
	}
	unset(&n.ClusterIP, o.ClusterIP)
	unset(&n.ClusterIPs, o.ClusterIPs)
	unset(&n.IPFamilies, o.IPFamilies)
	unset(&n.IPFamilyPolicy, o.IPFamilyPolicy)
	unset(&n.InternalTrafficPolicy, o.InternalTrafficPolicy)
}

// dropOutside clears what only services have that are reached from outside.
func dropOutside(n, o *corev1.ServiceSpec) {
	if nodePorts(o) && !nodePorts(n) && samePorts(n.Ports, o.Ports) {
		for i := range n.Ports {
			n.Ports[i].NodePort = 0
		}
	}
	if outside(o) && !outside(n) {
		unset(&n.ExternalTrafficPolicy, o.ExternalTrafficPolicy)
	}
	if checked(o) && !checked(n) {
		unset(&n.HealthCheckNodePort, o.HealthCheckNodePort)
	}
	if o.Type == corev1.ServiceTypeLoadBalancer && n.Type != corev1.ServiceTypeLoadBalancer {
		unset(&n.AllocateLoadBalancerNodePorts, o.AllocateLoadBalancerNodePorts)
		unset(&n.LoadBalancerClass, o.LoadBalancerClass)
		unset(&n.LoadBalancerSourceRanges, o.LoadBalancerSourceRanges)
	}
}

func nodePorts(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer && (s.AllocateLoadBalancerNodePorts == nil || *s.AllocateLoadBalancerNodePorts)
}

func outside(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer || s.Type == corev1.ServiceTypeClusterIP && len(s.ExternalIPs) > 0
}

func checked(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// samePorts reports whether no node port was asked for anew.
func samePorts(next, old []corev1.ServicePort) bool {
	have := map[int32]bool{0: true}
	for _, p := range old {
		have[p.NodePort] = true
	}
	return !slices.ContainsFunc(next, func(p corev1.ServicePort) bool { return !have[p.NodePort] })
}

// keepFamilies carries families over where the user left them out, and takes away the
// second address with the second family.
func keepFamilies(n, o *corev1.ServiceSpec) {
	if o.Type == corev1.ServiceTypeExternalName {
		return
	}
	if n.IPFamilyPolicy == nil {
		n.IPFamilyPolicy = o.IPFamilyPolicy
	}
	if len(n.IPFamilies) == 0 {
		n.IPFamilies = o.IPFamilies
	}
	if len(n.IPFamilies) == 1 && len(o.IPFamilies) == 2 && slices.Equal(n.ClusterIPs, o.ClusterIPs) && len(n.ClusterIPs) == 2 {
		n.ClusterIPs = n.ClusterIPs[:1]
	}
	if len(n.ClusterIPs) == 1 && len(o.ClusterIPs) == 2 && slices.Equal(n.IPFamilies, o.IPFamilies) {
		n.IPFamilies = n.IPFamilies[:1]
	}
}

// keepAddresses carries over what was allocated where the user left it out.
func keepAddresses(n, o *corev1.ServiceSpec) {
	if n.Type == corev1.ServiceTypeExternalName {
		return
	}
	if n.ClusterIP == "" && o.Type != corev1.ServiceTypeExternalName {
		n.ClusterIP, n.ClusterIPs = o.ClusterIP, o.ClusterIPs
	}
	keepFamilies(n, o)
	if n.Type == corev1.ServiceTypeClusterIP {
		return
	}
	for i := range n.Ports {
		p := &n.Ports[i]
		for _, was := range o.Ports {
			if p.NodePort == 0 && was.Port == p.Port && was.Protocol == p.Protocol {
				p.NodePort = was.NodePort
			}
		}
	}
}
