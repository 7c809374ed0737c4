package defaults

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// networkKinds lists the kinds that networkObject defaults.
func networkKinds() []runtime.Object {
	return []runtime.Object{&networkingv1.NetworkPolicy{}, &networkingv1.IngressClass{}}
}

// networkObject defaults the kinds of the group networking.k8s.io.
func networkObject(o runtime.Object) {
	switch o := o.(type) {
	case *networkingv1.NetworkPolicy:
		networkPolicy(&o.Spec)
	case *networkingv1.IngressClass:
		if p := o.Spec.Parameters; p != nil {
			ptr(&p.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
		}
	}
}

// networkPolicy defaults a policy: one that does not say which directions it
// rules rules what comes in, and what goes out where it has rules for it (API
// reference, NetworkPolicySpec.policyTypes).
func networkPolicy(s *networkingv1.NetworkPolicySpec) {
	for i := range s.Ingress {
		policyPorts(s.Ingress[i].Ports)
	}
	for i := range s.Egress {
		policyPorts(s.Egress[i].Ports)
	}
	if len(s.PolicyTypes) > 0 {
		return
	}
	s.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(s.Egress) > 0 {
		s.PolicyTypes = append(s.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
}

func policyPorts(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		ptr(&ports[i].Protocol, corev1.ProtocolTCP)
	}
}
