package allocate

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// reservedHosts of the service network are kept for the cluster itself: the API
// (1) and DNS (10) among them; a user may still ask for one by name.
const reservedHosts = 16

// Service gives svc the addresses and ports it lacks and checks those it asks
// for; old is the service it replaces, nil at creation. Errors are kind.Invalid
// and read as Kubernetes' do.
func (a *Allocator) Service(tx *store.Tx, svc, old *corev1.Service) error {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "", nil
		return nil
	}
	if err := a.clusterIP(tx, svc); err != nil {
		return err
	}
	if err := a.nodePorts(tx, svc); err != nil {
		return err
	}
	if err := a.meshPorts(tx, svc); err != nil {
		return err
	}
	if old != nil && svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		svc.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return &kind.Error{Kind: kind.Invalid, Field: field, Err: fmt.Errorf(format, args...)}
}

// other returns a service beside svc that is found under value.
func other(tx *store.Tx, svc *corev1.Service, index, value string) (object.Key, bool) {
	for row := range tables.Services.By(tx, index, value) {
		if key := row.Key(); key != object.KeyOf(svc) {
			return key, true
		}
	}
	return object.Key{}, false
}

func (a *Allocator) clusterIP(tx *store.Tx, svc *corev1.Service) error {
	s := &svc.Spec
	if s.ClusterIP == "" && len(s.ClusterIPs) > 0 {
		s.ClusterIP = s.ClusterIPs[0]
	}
	if len(s.ClusterIPs) > 1 {
		return invalid("spec.clusterIPs", "Invalid value: %q: may only hold one address: the cluster has IPv4 alone", s.ClusterIPs)
	}
	s.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	if s.IPFamilyPolicy == nil {
		single := corev1.IPFamilyPolicySingleStack
		s.IPFamilyPolicy = &single
	}
	switch s.ClusterIP {
	case corev1.ClusterIPNone:
	case "":
		ip, ok := a.freeIP(tx, svc)
		if !ok {
			return invalid("spec.clusterIPs", "Invalid value: []: failed to allocate a serviceIP: every address of %s is taken", a.cfg.ServiceCIDR)
		}
		s.ClusterIP = ip
	default:
		ip, err := netip.ParseAddr(s.ClusterIP)
		if err != nil || !a.cfg.ServiceCIDR.Contains(ip) || !a.usable(ip) {
			return invalid("spec.clusterIPs", "Invalid value: [%q]: failed to allocate IP %s: the provided IP is not in the valid range. The range of valid IPs is %s",
				s.ClusterIP, s.ClusterIP, a.cfg.ServiceCIDR)
		}
		if owner, reserved := a.reserved()[ip]; reserved && owner != object.KeyOf(svc) {
			return invalid("spec.clusterIPs", "Invalid value: [%q]: failed to allocate IP %s: it is kept for service %s", s.ClusterIP, s.ClusterIP, owner)
		}
		if key, taken := other(tx, svc, tables.ServicesByIP, s.ClusterIP); taken {
			return invalid("spec.clusterIPs", "Invalid value: [%q]: failed to allocate IP %s: provided IP is already allocated (to service %s)", s.ClusterIP, s.ClusterIP, key)
		}
	}
	s.ClusterIPs = []string{s.ClusterIP}
	return nil
}

// usable reports whether the address is neither the network's own nor its
// broadcast address.
func (a *Allocator) usable(ip netip.Addr) bool {
	return ip != a.cfg.ServiceCIDR.Addr() && a.cfg.ServiceCIDR.Contains(ip.Next())
}

// reserved are the addresses that the cluster's own services have.
func (a *Allocator) reserved() map[netip.Addr]object.Key {
	api := a.cfg.ServiceCIDR.Addr().Next()
	dns := api
	for range 9 {
		dns = dns.Next()
	}
	return map[netip.Addr]object.Key{
		api: {Namespace: metav1.NamespaceDefault, Name: "kubernetes"},
		dns: {Namespace: metav1.NamespaceSystem, Name: "kube-dns"},
	}
}

// freeIP starts at a place that depends on the service's name, so that an
// address that was just freed is rarely the next one given out.
func (a *Allocator) freeIP(tx *store.Tx, svc *corev1.Service) (string, bool) {
	count := uint32(1) << (32 - a.cfg.ServiceCIDR.Bits())
	base := binary.BigEndian.Uint32(a.cfg.ServiceCIDR.Addr().AsSlice())
	usable := count - reservedHosts - 1
	start := hash(object.KeyOf(svc).String() + string(svc.UID))
	for i := range usable {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], base+reservedHosts+(start+i)%usable)
		ip := netip.AddrFrom4(b).String()
		if _, taken := other(tx, svc, tables.ServicesByIP, ip); !taken {
			return ip, true
		}
	}
	return "", false
}

// hash is FNV-1a.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// nodePorts gives and checks node ports.
func (a *Allocator) nodePorts(tx *store.Tx, svc *corev1.Service) error {
	s := &svc.Spec
	wants := s.Type == corev1.ServiceTypeNodePort ||
		(s.Type == corev1.ServiceTypeLoadBalancer && (s.AllocateLoadBalancerNodePorts == nil || *s.AllocateLoadBalancerNodePorts))
	own := map[string]bool{}
	for i := range s.Ports {
		p := &s.Ports[i]
		if s.Type == corev1.ServiceTypeClusterIP {
			p.NodePort = 0
		}
		if p.NodePort == 0 {
			continue
		}
		field := fmt.Sprintf("spec.ports[%d].nodePort", i)
		key := tables.PortKey(p.NodePort, p.Protocol)
		if p.NodePort < a.cfg.NodePortMin || p.NodePort > a.cfg.NodePortMax {
			return invalid(field, "Invalid value: %d: provided port is not in the valid range. The range of valid ports is %d-%d", p.NodePort, a.cfg.NodePortMin, a.cfg.NodePortMax)
		}
		if by, taken := other(tx, svc, tables.ServicesByNodePort, key); taken || own[key] {
			return invalid(field, "Invalid value: %d: provided port is already allocated (%s)", p.NodePort, owner(by, taken))
		}
		if by, taken := other(tx, svc, tables.ServicesByMesh, key); taken {
			return invalid(field, "Invalid value: %d: the port of every node is taken by service %s of type LoadBalancer", p.NodePort, by)
		}
		own[key] = true
	}
	if !wants {
		return nil
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.NodePort != 0 {
			continue
		}
		port, ok := a.freePort(tx, svc, p.Protocol, own)
		if !ok {
			return invalid(fmt.Sprintf("spec.ports[%d].nodePort", i), "every port of %d-%d is taken", a.cfg.NodePortMin, a.cfg.NodePortMax)
		}
		p.NodePort = port
	}
	return nil
}

// owner says who has a port.
func owner(by object.Key, other bool) string {
	if other {
		return "to service " + by.String()
	}
	return "to another port of this service"
}

func (a *Allocator) freePort(tx *store.Tx, svc *corev1.Service, protocol corev1.Protocol, own map[string]bool) (int32, bool) {
	count := uint32(a.cfg.NodePortMax - a.cfg.NodePortMin + 1)
	start := hash(object.KeyOf(svc).String())
	for i := range count {
		port := a.cfg.NodePortMin + int32((start+i)%count)
		key := tables.PortKey(port, protocol)
		_, taken := other(tx, svc, tables.ServicesByNodePort, key)
		_, mesh := other(tx, svc, tables.ServicesByMesh, key)
		if !taken && !mesh && !own[key] {
			own[key] = true
			return port, true
		}
	}
	return 0, false
}

// meshPorts checks that no other service answers on the same ports of the
// nodes (docs/decisions/0003).
func (a *Allocator) meshPorts(tx *store.Tx, svc *corev1.Service) error {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	for i, p := range svc.Spec.Ports {
		field := fmt.Sprintf("spec.ports[%d].port", i)
		for _, r := range a.cfg.Reserved {
			if p.Port == r && p.Protocol != corev1.ProtocolUDP {
				return invalid(field, "Invalid value: %d: the port is the cluster's own on every node: choose another", p.Port)
			}
		}
		if by, taken := other(tx, svc, tables.ServicesByNodePort, tables.PortKey(p.Port, p.Protocol)); taken {
			return invalid(field, "Invalid value: %d: the port is a node port of service %s: choose another port", p.Port, by)
		}
		if by, taken := other(tx, svc, tables.ServicesByMesh, tables.PortKey(p.Port, p.Protocol)); taken {
			return invalid(field, "Invalid value: %d: the port of every node is taken by service %s of type LoadBalancer: choose another port, or type ClusterIP or NodePort", p.Port, by)
		}
	}
	return nil
}
