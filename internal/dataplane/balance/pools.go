package balance

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// View is what the choice of backends depends on beside the service itself.
type View struct {
	Node   string                // this node's name
	IsNode func(netip.Addr) bool // whether a node of the cluster has the address
}

// Service returns the pools of a service; none for headless and ExternalName
// ones.
func (v View) Service(svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice) []Pool {
	if svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.ClusterIP == corev1.ClusterIPNone {
		return nil
	}
	var pools []Pool
	for i := range svc.Spec.Ports {
		port := &svc.Spec.Ports[i]
		base := Pool{
			Name: fmt.Sprintf("%s/%s:%s", svc.Namespace, svc.Name, portName(port)), Rank: svc.CreationTimestamp.Unix(),
			Proto: Proto(port.Protocol), Affinity: svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP,
		}
		all := v.backends(port.Name, endpoints, false)
		local := v.backends(port.Name, endpoints, true)

		in := base
		in.Fronts = addressed(base.Proto, port.Port, clusterIPs(svc))
		in.Backends = all
		if p := svc.Spec.InternalTrafficPolicy; p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal {
			in.Backends, in.Drop = local, len(all) > 0
		}
		if len(in.Fronts) > 0 {
			pools = append(pools, in)
		}
		out := base
		out.Name += " (outside)"
		out.Fronts = v.outside(svc, port)
		out.Backends = all
		if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			out.Backends, out.Drop = local, len(all) > 0
		}
		if len(out.Fronts) > 0 {
			pools = append(pools, out)
		}
	}
	return pools
}

// HostPorts returns the pools of a pod's host ports.
func HostPorts(pod *corev1.Pod) []Pool {
	ip, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil || pod.Spec.HostNetwork {
		return nil
	}
	var pools []Pool
	for i := range pod.Spec.Containers {
		for _, port := range pod.Spec.Containers[i].Ports {
			if port.HostPort == 0 {
				continue
			}
			f := Front{Proto: Proto(port.Protocol), Port: uint16(port.HostPort)}
			if a, err := netip.ParseAddr(port.HostIP); err == nil && a.Is4() && !a.IsUnspecified() {
				f.Addr = a
			}
			pools = append(pools, Pool{
				Name: fmt.Sprintf("%s/%s host port %d/%s", pod.Namespace, pod.Name, port.HostPort, protocol(port.Protocol)),
				Rank: math.MaxInt64, Proto: f.Proto, Fronts: []Front{f},
				Backends: []netip.AddrPort{netip.AddrPortFrom(ip, uint16(port.ContainerPort))},
			})
		}
	}
	return pools
}

// Proto returns the IP protocol number; TCP for an empty or unknown name.
func Proto(p corev1.Protocol) uint8 {
	switch p {
	case corev1.ProtocolUDP:
		return protoUDP
	case corev1.ProtocolSCTP:
		return 132
	}
	return 6
}

func protocol(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

func portName(p *corev1.ServicePort) string {
	if p.Name != "" {
		return p.Name
	}
	return fmt.Sprintf("%d/%s", p.Port, protocol(p.Protocol))
}

func clusterIPs(svc *corev1.Service) []string {
	if len(svc.Spec.ClusterIPs) > 0 {
		return svc.Spec.ClusterIPs
	}
	return []string{svc.Spec.ClusterIP}
}

func addressed(proto uint8, port int32, ips []string) []Front {
	var fronts []Front
	for _, ip := range ips {
		f := Front{Proto: proto, Port: uint16(port)}
		if a, err := netip.ParseAddr(ip); err == nil && a.Is4() {
			f.Addr = a
			fronts = append(fronts, f)
		}
	}
	return fronts
}

// outside returns where the service is reached beside its cluster address. A
// LoadBalancer is the mesh: its port is on every local address, so addresses of
// nodes need no front of their own.
func (v View) outside(svc *corev1.Service, port *corev1.ServicePort) []Front {
	proto := Proto(port.Protocol)
	ips := slices.Clone(svc.Spec.ExternalIPs)
	var fronts []Front
	if port.NodePort != 0 && svc.Spec.Type != corev1.ServiceTypeClusterIP {
		fronts = append(fronts, Front{Proto: proto, Port: uint16(port.NodePort)})
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		if svc.Spec.LoadBalancerClass == nil {
			fronts = append(fronts, Front{Proto: proto, Port: uint16(port.Port)})
		}
		for _, in := range svc.Status.LoadBalancer.Ingress {
			if a, err := netip.ParseAddr(in.IP); err == nil && !v.IsNode(a) {
				ips = append(ips, in.IP)
			}
		}
	}
	for _, f := range addressed(proto, port.Port, ips) {
		if !slices.Contains(fronts, f) {
			fronts = append(fronts, f)
		}
	}
	return fronts
}

// backends returns the ready endpoints of a port, else those that serve while
// they terminate.
func (v View) backends(port string, endpoints []*discoveryv1.EndpointSlice, local bool) []netip.AddrPort {
	var ready, ending []netip.AddrPort
	seen := map[netip.AddrPort]bool{}
	for _, s := range endpoints {
		number := portNumber(s, port)
		if number == 0 || s.AddressType != discoveryv1.AddressTypeIPv4 {
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if len(e.Addresses) == 0 || local && (e.NodeName == nil || *e.NodeName != v.Node) {
				continue
			}
			a, err := netip.ParseAddr(e.Addresses[0])
			b := netip.AddrPortFrom(a, number)
			if err != nil || !a.Is4() {
				continue
			}
			switch {
			case Ready(e) && !seen[b]:
				ready, seen[b] = append(ready, b), true
			case !Ready(e) && e.Conditions.Serving != nil && *e.Conditions.Serving && !slices.Contains(ending, b):
				ending = append(ending, b)
			}
		}
	}
	if len(ready) == 0 {
		return ending
	}
	return ready
}

// Ready reports whether an endpoint takes traffic; unknown counts as ready, as
// the discovery/v1 documentation asks.
func Ready(e *discoveryv1.Endpoint) bool {
	return e.Conditions.Ready == nil || *e.Conditions.Ready
}

func portNumber(s *discoveryv1.EndpointSlice, name string) uint16 {
	for _, p := range s.Ports {
		if (p.Name == nil && name == "" || p.Name != nil && *p.Name == name) && p.Port != nil {
			return uint16(*p.Port)
		}
	}
	return 0
}
