package balance

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/object/floating"
)

// View is what the choice of backends depends on beside the service itself.
type View struct {
	Family corev1.IPFamily       // whose pools are asked for; the other one has its own table
	Node   string                // this node's name
	Zone   string                // its zone; empty: none
	IsNode func(netip.Addr) bool // whether a node of the cluster has the address
}

// Service returns the pools of a service; none for headless and ExternalName
// ones.
func (v View) Service(svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice) []Pool {
	if svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.ClusterIP == corev1.ClusterIPNone || !family.Answers(svc, v.Family) {
		return nil
	}
	var pools []Pool
	for i := range svc.Spec.Ports {
		port := &svc.Spec.Ports[i]
		base := Pool{
			Name: fmt.Sprintf("%s/%s:%s", svc.Namespace, svc.Name, portName(port)), Rank: svc.CreationTimestamp.Unix(),
			Proto: Proto(port.Protocol), Affinity: svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP,
			Stick: stick(svc),
		}
		all := v.backends(port.Name, endpoints, false)
		local := v.backends(port.Name, endpoints, true)

		in := base
		in.Fronts = v.addressed(base.Proto, port.Port, family.ClusterIPs(svc))
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
		out.Backends, out.Keep = all, object.KeepsClients(svc)
		if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			out.Backends, out.Drop = local, len(all) > 0
			if len(in.Fronts) > 0 && len(in.Backends) > 0 {
				out.Via = Via{in.Fronts[0], len(in.Backends)}
			}
		}
		if from := sources(svc); from != nil {
			lb := out
			lb.Name, lb.From = base.Name+" (load balancer)", from
			lb.Fronts, out.Fronts = v.balanced(svc, port), v.public(svc, port)
			if len(lb.Fronts) > 0 {
				pools = append(pools, lb)
			}
		}
		if len(out.Fronts) > 0 {
			pools = append(pools, out)
		}
	}
	return pools
}

// Checked returns the port on which a load balancer asks nodes for the service, and
// how many ready endpoints this one has; 0: none asks.
func (v View) Checked(svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice) (port int32, local int) {
	s := &svc.Spec
	if s.Type != corev1.ServiceTypeLoadBalancer || s.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return 0, 0
	}
	seen := map[string]bool{}
	for _, slice := range endpoints {
		for i := range slice.Endpoints { // of both families: a pod counts once
			if e := &slice.Endpoints[i]; len(e.Addresses) > 0 && Ready(e) && e.NodeName != nil && *e.NodeName == v.Node {
				seen[counted(e)] = true
			}
		}
	}
	return s.HealthCheckNodePort, len(seen)
}

// counted names an endpoint: its pod, whatever address the slice has of it.
func counted(e *discoveryv1.Endpoint) string {
	if e.TargetRef != nil {
		return e.TargetRef.Namespace + "/" + e.TargetRef.Name
	}
	return e.Addresses[0]
}

// HostPorts returns the pools of a pod's host ports; ip is the pod's address of the
// family.
func HostPorts(pod *corev1.Pod, ip netip.Addr) []Pool {
	if !ip.IsValid() || pod.Spec.HostNetwork {
		return nil
	}
	var pools []Pool
	for i := range pod.Spec.Containers {
		for _, port := range pod.Spec.Containers[i].Ports {
			if port.HostPort == 0 {
				continue
			}
			f := Front{Proto: Proto(port.Protocol), Port: uint16(port.HostPort)}
			if a, err := netip.ParseAddr(port.HostIP); err == nil {
				if a.BitLen() != ip.BitLen() {
					continue
				}
				if !a.IsUnspecified() {
					f.Addr = a
				}
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

func (v View) addressed(proto uint8, port int32, ips []string) []Front {
	var fronts []Front
	for _, ip := range ips {
		f := Front{Proto: proto, Port: uint16(port)}
		if a, err := netip.ParseAddr(ip); err == nil && family.Of(a) == v.Family {
			f.Addr = a
			fronts = append(fronts, f)
		}
	}
	return fronts
}

// outside returns where the service is reached beside its cluster address.
func (v View) outside(svc *corev1.Service, port *corev1.ServicePort) []Front {
	fronts := v.public(svc, port)
	for _, f := range v.balanced(svc, port) {
		if !slices.Contains(fronts, f) {
			fronts = append(fronts, f)
		}
	}
	return fronts
}

// public returns the fronts that answer everybody.
func (v View) public(svc *corev1.Service, port *corev1.ServicePort) []Front {
	proto := Proto(port.Protocol)
	fronts := v.addressed(proto, port.Port, svc.Spec.ExternalIPs)
	if port.NodePort != 0 && svc.Spec.Type != corev1.ServiceTypeClusterIP {
		fronts = append(fronts, Front{Proto: proto, Port: uint16(port.NodePort)})
	}
	return fronts
}

// balanced returns the fronts of a load balancer. Without an address of a pool it is the
// mesh: its port is on every local address, so addresses of nodes need no front of
// their own.
func (v View) balanced(svc *corev1.Service, port *corev1.ServicePort) []Front {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	proto := Proto(port.Protocol)
	var fronts []Front
	if floating.Meshed(svc) {
		fronts = append(fronts, Front{Proto: proto, Port: uint16(port.Port)})
	}
	var ips []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil && !v.IsNode(a) {
			ips = append(ips, in.IP)
		}
	}
	return append(fronts, v.addressed(proto, port.Port, ips)...)
}

// stick returns for how many seconds a client keeps its backend.
func stick(svc *corev1.Service) uint32 {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return uint32(*c.ClientIP.TimeoutSeconds)
	}
	return uint32(corev1.DefaultClientIPServiceAffinitySeconds)
}

// sources returns whom a load balancer answers; nil: everybody.
func sources(svc *corev1.Service) []netip.Prefix {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || len(svc.Spec.LoadBalancerSourceRanges) == 0 {
		return nil
	}
	from := []netip.Prefix{}
	for _, r := range svc.Spec.LoadBalancerSourceRanges {
		if p, err := netip.ParsePrefix(strings.TrimSpace(r)); err == nil {
			from = append(from, p.Masked())
		}
	}
	return from
}

// candidate is an endpoint at a port.
type candidate struct {
	at netip.AddrPort
	*discoveryv1.Endpoint
}

// backends returns the ready endpoints of a port, else those that serve while
// they terminate.
func (v View) backends(port string, endpoints []*discoveryv1.EndpointSlice, local bool) []netip.AddrPort {
	var ready, ending []candidate
	seen := map[netip.AddrPort]bool{}
	for _, s := range endpoints {
		number := portNumber(s, port)
		if number == 0 || s.AddressType != discoveryv1.AddressType(v.Family) {
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if len(e.Addresses) == 0 || local && (e.NodeName == nil || *e.NodeName != v.Node) {
				continue
			}
			a, err := netip.ParseAddr(e.Addresses[0])
			c := candidate{netip.AddrPortFrom(a, number), e}
			if err != nil || family.Of(a) != v.Family {
				continue
			}
			switch {
			case Ready(e) && !seen[c.at]:
				ready, seen[c.at] = append(ready, c), true
			case !Ready(e) && e.Conditions.Serving != nil && *e.Conditions.Serving:
				ending = append(ending, c)
			}
		}
	}
	switch {
	case len(ready) == 0:
		return addresses(ending)
	case local:
		return addresses(ready)
	}
	return addresses(v.near(ready))
}

// addresses returns where candidates are, each once.
func addresses(all []candidate) (out []netip.AddrPort) {
	seen := map[netip.AddrPort]bool{}
	for _, c := range all {
		if !seen[c.at] {
			out, seen[c.at] = append(out, c.at), true
		}
	}
	return out
}

// near returns the endpoints that are meant for clients on this node, else in its
// zone. Hints count if every endpoint has them and one is for us (Kubernetes,
// "Topology Aware Routing", safeguards).
func (v View) near(all []candidate) []candidate {
	for _, ours := range []func(*discoveryv1.EndpointHints) (given, here bool){
		func(h *discoveryv1.EndpointHints) (bool, bool) {
			return len(h.ForNodes) > 0, slices.ContainsFunc(h.ForNodes, func(n discoveryv1.ForNode) bool { return n.Name == v.Node })
		},
		func(h *discoveryv1.EndpointHints) (bool, bool) {
			return v.Zone != "" && len(h.ForZones) > 0, slices.ContainsFunc(h.ForZones, func(z discoveryv1.ForZone) bool { return z.Name == v.Zone })
		},
	} {
		var here []candidate
		for _, c := range all {
			if c.Hints == nil {
				return all
			}
			given, is := ours(c.Hints)
			if !given {
				here = nil
				break
			}
			if is {
				here = append(here, c)
			}
		}
		if len(here) > 0 {
			return here
		}
	}
	return all
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
