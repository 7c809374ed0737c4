package endpoints

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// service is what the loop knows of one service.
type service struct {
	key      object.Key
	svc      *corev1.Service // as last looked at; shared
	selector labels.Selector
	label    string // by which byLabel finds it

	members  map[object.Key]facts // its pods that are endpoints
	touched  map[object.Key]bool  // pods that changed since the last sync
	slices   []*slice
	where    map[place]*slice
	syncAt   time.Time // slices are not written before
	legacyAt time.Time // nor the old form
}

// facts are what endpoints say of a pod.
type facts struct {
	uid                         types.UID
	ip, otherIP                 string // of two families; empty: none
	node, hostname, zone        string
	ready, serving, terminating bool
	ports                       string // signature of the resolved ports
}

// in returns the pod's address of a family; empty: none.
func (f *facts) in(t discoveryv1.AddressType) string {
	for _, ip := range []string{f.ip, f.otherIP} {
		if ip != "" && addressType(ip) == t {
			return ip
		}
	}
	return ""
}

// place is a pod in the slices of one family.
type place struct {
	pod object.Key
	of  discoveryv1.AddressType
}

// types returns the families of the service's slices, the primary one first.
func (s *service) types() (out []discoveryv1.AddressType) {
	for _, f := range family.OfService(s.svc) {
		out = append(out, discoveryv1.AddressType(f))
	}
	return out
}

// label joins what byLabel is keyed by.
func label(ns, k, v string) string { return ns + "\x00" + k + "\x00" + v }

func newService(svc *corev1.Service) *service {
	s := &service{
		key: object.KeyOf(svc), svc: svc, selector: labels.SelectorFromSet(svc.Spec.Selector),
		members: map[object.Key]facts{}, touched: map[object.Key]bool{}, where: map[place]*slice{},
	}
	k := slices.Min(slices.Collect(maps.Keys(svc.Spec.Selector)))
	s.label = label(s.key.Namespace, k, svc.Spec.Selector[k])
	return s
}

// same reports whether svc asks for the same endpoints as the service did, and
// remembers it if so.
func (s *service) same(svc *corev1.Service) bool {
	a, b := &s.svc.Spec, &svc.Spec
	same := s.svc.UID == svc.UID && a.Type == b.Type && a.PublishNotReadyAddresses == b.PublishNotReadyAddresses &&
		headless(s.svc) == headless(svc) && slices.Equal(family.OfService(s.svc), family.OfService(svc)) && spread(s.svc) == spread(svc) && equality.Semantic.DeepEqual(a.Selector, b.Selector) &&
		equality.Semantic.DeepEqual(a.Ports, b.Ports) && maps.Equal(s.svc.Labels, svc.Labels)
	if same {
		s.svc = svc
	}
	return same
}

func headless(svc *corev1.Service) bool { return svc.Spec.ClusterIP == corev1.ClusterIPNone }

// spread returns how the service wants its traffic kept near, empty: not at all.
func spread(svc *corev1.Service) string {
	if d := svc.Spec.TrafficDistribution; d != nil {
		return *d
	}
	return ""
}

// drop takes a pod out.
func (s *service) drop(pod object.Key) {
	delete(s.members, pod)
	s.touched[pod] = true
}

// take takes in a pod that the service selects and reports whether that changes
// anything. The pod is decoded only if its head differs from what is known.
func (s *service) take(key object.Key, row store.Row[*corev1.Pod, *tables.PodHead], zone string) bool {
	h := row.Head()
	was, member := s.members[key]
	if h.IP == "" || h.Ended() {
		if member {
			s.drop(key)
		}
		return member
	}
	f := facts{
		uid: h.UID, ip: h.IP, otherIP: h.OtherIP, node: h.Node, zone: zone, serving: h.Ready, terminating: h.Deleting,
		ready:    s.svc.Spec.PublishNotReadyAddresses || h.Ready && !h.Deleting,
		hostname: was.hostname, ports: was.ports,
	}
	if member && f == was {
		return false
	}
	if !member || f.uid != was.uid { // these cannot change in a pod's life
		pod := row.Object()
		f.hostname, f.ports = "", signature(resolve(s.svc, pod))
		if pod.Spec.Subdomain == s.key.Name {
			f.hostname = pod.Spec.Hostname
		}
	}
	s.members[key] = f
	s.touched[key] = true
	return true
}

// resolve returns the service's ports as the pod has them; a named port that the
// pod does not have is left out.
func resolve(svc *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		number := p.TargetPort.IntVal
		switch {
		case p.TargetPort.Type == intstr.String:
			number = named(pod, p.TargetPort.StrVal, p.Protocol)
		case number == 0:
			number = p.Port
		}
		if number == 0 {
			continue
		}
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		out = append(out, discoveryv1.EndpointPort{Name: &p.Name, Port: &number, Protocol: &protocol, AppProtocol: p.AppProtocol})
	}
	return out
}

func named(pod *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	find := func(list []corev1.Container) int32 {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.Name == name && (p.Protocol == protocol || p.Protocol == "" || protocol == "") {
					return p.ContainerPort
				}
			}
		}
		return 0
	}
	if n := find(pod.Spec.Containers); n != 0 {
		return n
	}
	return find(pod.Spec.InitContainers) // sidecars
}

// signature is equal for endpoints that may share a slice of their family.
func signature(ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		app := ""
		if p.AppProtocol != nil {
			app = *p.AppProtocol
		}
		fmt.Fprintf(&b, " %s/%s/%d/%s", *p.Name, *p.Protocol, *p.Port, app)
	}
	return b.String()
}

func addressType(ip string) discoveryv1.AddressType { return discoveryv1.AddressType(family.Text(ip)) }

// parse is the inverse of signature.
func parse(signature string) (ports []discoveryv1.EndpointPort) {
	for _, p := range strings.Fields(signature) {
		f := strings.SplitN(p, "/", 4)
		var number int32
		fmt.Sscan(f[2], &number)
		protocol := corev1.Protocol(f[1])
		port := discoveryv1.EndpointPort{Name: &f[0], Protocol: &protocol, Port: &number}
		if f[3] != "" {
			port.AppProtocol = &f[3]
		}
		ports = append(ports, port)
	}
	return ports
}
