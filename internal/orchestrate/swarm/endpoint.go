package swarm

import (
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"trireme/internal/object"
	"trireme/internal/object/network"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

// servicesFor returns the swarm services that a core Service of the key may be of.
func servicesFor(key object.Key) []object.Key {
	name := strings.TrimSuffix(strings.TrimSuffix(key.Name, ours.PublishedSuffix), ours.PortsSuffix)
	return []object.Key{key, {Namespace: key.Namespace, Name: name}}
}

// endpoints brings the core Services beside the service to what they should be: a
// headless one, by which its tasks are known by name on every port, as swarm's virtual
// addresses are; and what is published.
func (s *step) endpoints() {
	want := map[string]*corev1.Service{s.key.Name: s.headless()}
	if p := s.published(); len(p.Spec.Ports) > 0 {
		want[p.Name] = p
	}
	if p := s.chosen(); len(p.Spec.Ports) > 0 {
		want[p.Name] = p
	}
	for _, name := range []string{s.key.Name, s.key.Name + ours.PublishedSuffix, s.key.Name + ours.PortsSuffix} {
		s.endpoint(name, want[name])
	}
}

// endpoint makes, changes or deletes one core Service.
func (s *step) endpoint(name string, want *corev1.Service) {
	key := object.Key{Namespace: s.key.Namespace, Name: name}
	have, ok := tables.Services.Get(s.tx, key)
	mine := ok && metav1.IsControlledBy(have, s.svc)
	switch {
	case ok && !mine:
		if want != nil {
			s.warn("NameTaken", fmt.Sprintf("service %s is there already and is not this service's: remove it, or name this one otherwise", key))
		}
	case mine && (want == nil || want.Spec.Type != have.Spec.Type): // of another type: made again, once it has gone
		tables.Services.Delete(s.tx, key)
	case want != nil && !ok:
		tables.Services.Put(s.tx, want)
	case want != nil:
		next := have.DeepCopy()
		next.Spec.Selector, next.Spec.ExternalIPs = want.Spec.Selector, want.Spec.ExternalIPs
		next.Spec.Ports = keepNodePorts(have.Spec.Ports, want.Spec.Ports)
		for _, name := range []string{ours.KeepClientLabel, network.OnlyAnnotation, network.FrontsAnnotation} { // others have theirs
			if text, ok := want.Annotations[name]; ok {
				metav1.SetMetaDataAnnotation(&next.ObjectMeta, name, text)
			} else {
				delete(next.Annotations, name)
			}
		}
		if !equality.Semantic.DeepEqual(have, next) {
			tables.Services.Put(s.tx, next)
		}
	}
}

// keepNodePorts returns the wanted ports with the node ports that were given to them.
func keepNodePorts(have, want []corev1.ServicePort) []corev1.ServicePort {
	for i := range want {
		for _, h := range have {
			if h.Name == want[i].Name {
				want[i].NodePort = h.NodePort
			}
		}
	}
	return want
}

func (s *step) coreService(name string, kind corev1.ServiceType) *corev1.Service {
	affinity, family := corev1.ServiceAffinityNone, corev1.IPFamilyPolicyPreferDualStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.key.Namespace, Name: name, Labels: map[string]string{ours.ServiceLabel: s.key.Name},
			OwnerReferences: []metav1.OwnerReference{object.ControllerRef(s.svc, ours.Kind)},
		},
		Spec: corev1.ServiceSpec{
			Type: kind, Selector: map[string]string{ours.ServiceLabel: s.key.Name}, SessionAffinity: affinity, IPFamilyPolicy: &family,
		},
	}
}

func (s *step) headless() *corev1.Service {
	svc := s.coreService(s.key.Name, corev1.ServiceTypeClusterIP)
	svc.Spec.ClusterIP, svc.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
	switch fronts, err := s.svc.Fronts(s.network); {
	case err != nil: // its tasks cannot be made either, and say so
		svc.Annotations = map[string]string{network.OnlyAnnotation: "true"}
	case len(fronts) > 0:
		svc.Annotations = map[string]string{network.OnlyAnnotation: "true", network.FrontsAnnotation: network.MarshalWishes(fronts)}
	}
	return svc
}

// published is the ports that every node answers, or one address that the user chose.
func (s *step) published() *corev1.Service {
	var svc *corev1.Service
	if address := s.svc.Spec.Labels[ours.PublishAddressLabel]; address != "" {
		svc = s.coreService(s.key.Name+ours.PublishedSuffix, corev1.ServiceTypeClusterIP)
		svc.Spec.ExternalIPs, svc.Spec.ExternalTrafficPolicy = []string{address}, corev1.ServiceExternalTrafficPolicyCluster
	} else {
		svc = s.coreService(s.key.Name+ours.PublishedSuffix, corev1.ServiceTypeLoadBalancer)
		svc.Spec.AllocateLoadBalancerNodePorts, svc.Spec.ExternalTrafficPolicy = new(bool), corev1.ServiceExternalTrafficPolicyCluster
	}
	s.keepClients(svc)
	svc.Spec.Ports = s.ports(func(p swarm.PortConfig) bool { return p.PublishedPort != 0 })
	return svc
}

// chosen is the ports that every node answers under a number that the cluster chooses.
func (s *step) chosen() *corev1.Service {
	svc := s.coreService(s.key.Name+ours.PortsSuffix, corev1.ServiceTypeNodePort)
	s.keepClients(svc)
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	svc.Spec.Ports = s.ports(func(p swarm.PortConfig) bool { return p.PublishedPort == 0 })
	return svc
}

// keepClients asks the mesh to show tasks their clients' own addresses.
func (s *step) keepClients(svc *corev1.Service) {
	if v, given := s.svc.Spec.Labels[ours.KeepClientLabel]; given {
		svc.Annotations = map[string]string{ours.KeepClientLabel: v}
	}
}

func (s *step) ports(of func(swarm.PortConfig) bool) (out []corev1.ServicePort) {
	for _, p := range ptr.Deref(s.svc.Spec.EndpointSpec, swarm.EndpointSpec{}).Ports {
		if p.PublishMode == swarm.PortConfigPublishModeHost || !of(p) {
			continue
		}
		port := int32(p.PublishedPort)
		if port == 0 {
			port = int32(p.TargetPort)
		}
		protocol := ours.Protocol(p.Protocol)
		out = append(out, corev1.ServicePort{
			Name: ours.PortName(p), Protocol: protocol, Port: port, TargetPort: intstr.FromInt32(int32(p.TargetPort)),
		})
	}
	return out
}

// network returns the network of a name or id of docker's.
func (s *step) network(target string) (object.Key, bool) { return tables.NetworkByID(s.tx, target) }
