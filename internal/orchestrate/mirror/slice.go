package mirror

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/tables"
)

const sliceMax = 100 // endpoints

// mirrored returns the slices that show e, without names.
func mirrored(e *corev1.Endpoints) (out []*discoveryv1.EndpointSlice) {
	for i := range e.Subsets {
		s := &e.Subsets[i]
		for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			list := slices.Concat(endpoints(s.Addresses, family, true), endpoints(s.NotReadyAddresses, family, false))
			for part := range slices.Chunk(list, sliceMax) {
				out = append(out, &discoveryv1.EndpointSlice{
					ObjectMeta: metav1.ObjectMeta{
						Labels: labels(e), Annotations: annotations(e),
						OwnerReferences: []metav1.OwnerReference{object.ControllerRef(e, tables.Endpoints.GVK())},
					},
					AddressType: family, Ports: ports(s.Ports), Endpoints: part,
				})
			}
		}
	}
	return out
}

func labels(e *corev1.Endpoints) map[string]string {
	l := maps.Clone(e.Labels)
	if l == nil {
		l = map[string]string{}
	}
	delete(l, discoveryv1.LabelSkipMirror)
	l[discoveryv1.LabelServiceName], l[discoveryv1.LabelManagedBy] = e.Name, manager
	return l
}

func annotations(e *corev1.Endpoints) map[string]string {
	a := maps.Clone(e.Annotations)
	delete(a, corev1.LastAppliedConfigAnnotation)
	delete(a, corev1.EndpointsLastChangeTriggerTime)
	if len(a) == 0 {
		return nil
	}
	return a
}

func ports(list []corev1.EndpointPort) []discoveryv1.EndpointPort {
	out := make([]discoveryv1.EndpointPort, len(list))
	for i := range list {
		p := list[i]
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		out[i] = discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol}
	}
	return out
}

func endpoints(list []corev1.EndpointAddress, family discoveryv1.AddressType, ready bool) (out []discoveryv1.Endpoint) {
	for _, a := range list {
		ip, err := netip.ParseAddr(a.IP)
		if err != nil || ip.Is4() != (family == discoveryv1.AddressTypeIPv4) {
			continue
		}
		e := discoveryv1.Endpoint{Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, NodeName: a.NodeName, TargetRef: a.TargetRef}
		if a.Hostname != "" {
			e.Hostname = &a.Hostname
		}
		out = append(out, e)
	}
	return out
}

// ownerOf returns the UID of the Endpoints that the slice was made for.
func ownerOf(s *discoveryv1.EndpointSlice) types.UID {
	if ref := metav1.GetControllerOfNoCopy(s); ref != nil {
		return ref.UID
	}
	return ""
}
