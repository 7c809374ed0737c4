package allocate

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/floating"
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
	if err := a.clusterIPs(tx, svc, old); err != nil {
		return err
	}
	fromDefaultPool(tx, svc, old)
	if err := a.nodePorts(tx, svc); err != nil {
		return err
	}
	if err := a.healthPort(tx, svc, old); err != nil {
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

func list(ranges []netip.Prefix) string {
	text := make([]string, len(ranges))
	for i, p := range ranges {
		text[i] = p.String()
	}
	return strings.Join(text, ", ")
}

// reserved are the addresses that the cluster's own services have.
func (a *Allocator) reserved() map[netip.Addr]object.Key {
	all := map[netip.Addr]object.Key{}
	for _, p := range a.cfg.ServiceCIDRs {
		all[plus(p.Addr(), 1)] = object.Key{Namespace: metav1.NamespaceDefault, Name: "kubernetes"}
		all[plus(p.Addr(), 10)] = object.Key{Namespace: metav1.NamespaceSystem, Name: "kube-dns"}
	}
	return all
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

// healthPort gives and checks the port on which load balancers ask nodes whether they
// have endpoints. It stays what it is.
func (a *Allocator) healthPort(tx *store.Tx, svc, old *corev1.Service) error {
	s := &svc.Spec
	if !checked(s) {
		return nil // what is set all the same is refused by validation
	}
	const field = "spec.healthCheckNodePort"
	if old != nil && checked(&old.Spec) && old.Spec.HealthCheckNodePort != 0 {
		switch had := old.Spec.HealthCheckNodePort; s.HealthCheckNodePort {
		case 0, had:
			s.HealthCheckNodePort = had
			return nil
		}
		return invalid(field, "Invalid value: %d: field is immutable", s.HealthCheckNodePort)
	}
	own := map[string]bool{}
	for _, p := range s.Ports {
		own[tables.PortKey(p.NodePort, p.Protocol)] = true
		own[tables.PortKey(p.Port, p.Protocol)] = true
	}
	if s.HealthCheckNodePort == 0 {
		port, ok := a.freePort(tx, svc, corev1.ProtocolTCP, own)
		if !ok {
			return invalid(field, "every port of %d-%d is taken", a.cfg.NodePortMin, a.cfg.NodePortMax)
		}
		s.HealthCheckNodePort = port
		return nil
	}
	key := tables.PortKey(s.HealthCheckNodePort, corev1.ProtocolTCP)
	if s.HealthCheckNodePort < a.cfg.NodePortMin || s.HealthCheckNodePort > a.cfg.NodePortMax {
		return invalid(field, "Invalid value: %d: provided port is not in the valid range. The range of valid ports is %d-%d", s.HealthCheckNodePort, a.cfg.NodePortMin, a.cfg.NodePortMax)
	}
	by, taken := other(tx, svc, tables.ServicesByNodePort, key)
	if !taken {
		by, taken = other(tx, svc, tables.ServicesByMesh, key)
	}
	if taken || own[key] {
		return invalid(field, "Invalid value: %d: provided port is already allocated (%s)", s.HealthCheckNodePort, owner(by, taken))
	}
	return nil
}

// checked reports whether load balancers ask nodes for the service's health.
func checked(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
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
	for i := range 2 * count {
		port := a.cfg.NodePortMin + int32((start+i)%count)
		if i < count && port >= object.DynamicPortMin && port <= object.DynamicPortMax {
			continue // left to pods while there are others
		}
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
	if !floating.Meshed(svc) {
		return nil
	}
	for i, p := range svc.Spec.Ports {
		field := fmt.Sprintf("spec.ports[%d].port", i)
		if a.Reserved(p.Port) && p.Protocol != corev1.ProtocolUDP {
			return invalid(field, "Invalid value: %d: the port is the cluster's own on every node: choose another", p.Port)
		}
		if by, taken := other(tx, svc, tables.ServicesByNodePort, tables.PortKey(p.Port, p.Protocol)); taken {
			return invalid(field, "Invalid value: %d: the port is a node port of service %s: choose another port", p.Port, by)
		}
		if by, taken := other(tx, svc, tables.ServicesByMesh, tables.PortKey(p.Port, p.Protocol)); taken {
			return invalid(field, "Invalid value: %d: the port of every node is taken by service %s of type LoadBalancer: choose another port, type ClusterIP or NodePort, or an address pool (annotation "+floating.PoolAnnotation+")", p.Port, by)
		}
	}
	return nil
}
