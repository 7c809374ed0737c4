package marathon

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"trireme/internal/object"
	ours "trireme/internal/object/marathon"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// publishedSuffix is added to an app's name for the core Service of its service ports.
const publishedSuffix = "-published"

// observeServices marks the apps whose core Services, or what else is beside them, changed.
func (l *Apps) observeServices(tx *store.Tx) {
	for key := range tables.Ingresses.Changed(tx) {
		l.mark(key)
	}
	for key := range tables.HorizontalPodAutoscalers.Changed(tx) {
		l.mark(key)
	}
	for key := range tables.PersistentVolumeClaims.Changed(tx) {
		if c, ok := tables.PersistentVolumeClaims.Get(tx, key); ok && c.Labels[ours.AppLabel] != "" {
			l.mark(object.Key{Namespace: key.Namespace, Name: c.Labels[ours.AppLabel]})
		}
	}
	for key := range tables.Services.Changed(tx) {
		for _, name := range []string{key.Name, strings.TrimSuffix(key.Name, publishedSuffix)} {
			l.mark(object.Key{Namespace: key.Namespace, Name: name})
		}
	}
}

func (l *Apps) mark(app object.Key) {
	if l.apps[app] != nil {
		l.agenda.Mark(app)
	}
}

// endpoints brings the core Services beside the app to what they should be: a headless one,
// by which its instances are known by name, and the service ports that every node answers
// where the labels of a load balancer ask for it.
func (s *step) endpoints() {
	if s.d != &s.app.Spec {
		return
	}
	headless := s.coreService(s.key.Name, corev1.ServiceTypeClusterIP)
	headless.Spec.ClusterIP, headless.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
	for i, p := range s.d.Ports() {
		headless.Spec.Ports = append(headless.Spec.Ports, corev1.ServicePort{
			Name: ours.PortName(i), Protocol: p.Protocols[0], Port: int32(i + 1), TargetPort: intstr.FromString(ours.PortName(i)),
		})
	}
	s.endpoint(s.key.Name, headless)
	published := s.coreService(s.key.Name+publishedSuffix, corev1.ServiceTypeLoadBalancer)
	published.Spec.AllocateLoadBalancerNodePorts, published.Spec.ExternalTrafficPolicy = new(bool), corev1.ServiceExternalTrafficPolicyCluster
	for _, b := range s.d.Balanced() {
		if b.Sticky {
			published.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		}
		published.Spec.Ports = append(published.Spec.Ports, corev1.ServicePort{
			Name: ours.PortName(b.Index), Protocol: corev1.ProtocolTCP, Port: b.Port, TargetPort: intstr.FromString(ours.PortName(b.Index)),
		})
	}
	if len(published.Spec.Ports) == 0 {
		published = nil
	}
	s.endpoint(s.key.Name+publishedSuffix, published)
}

func (s *step) coreService(name string, kind corev1.ServiceType) *corev1.Service {
	family := corev1.IPFamilyPolicyPreferDualStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.key.Namespace, Name: name, Labels: map[string]string{ours.AppLabel: s.key.Name},
			OwnerReferences: []metav1.OwnerReference{object.ControllerRef(s.app, ours.AppKind)},
		},
		Spec: corev1.ServiceSpec{
			Type: kind, Selector: map[string]string{ours.AppLabel: s.key.Name}, SessionAffinity: corev1.ServiceAffinityNone, IPFamilyPolicy: &family,
		},
	}
}

// endpoint makes, changes or deletes one core Service.
func (s *step) endpoint(name string, want *corev1.Service) {
	key := object.Key{Namespace: s.key.Namespace, Name: name}
	have, ok := tables.Services.Get(s.tx, key)
	mine := ok && metav1.IsControlledBy(have, s.app)
	switch {
	case ok && !mine:
		if want != nil {
			s.warn("NameTaken", fmt.Sprintf("service %s is there already and is not this app's: remove it, or name this one otherwise", key))
		}
	case mine && want == nil:
		tables.Services.Delete(s.tx, key)
	case want != nil && !ok:
		tables.Services.Put(s.tx, want)
	case want != nil:
		next := have.DeepCopy()
		next.Spec.Selector, next.Spec.Ports, next.Spec.SessionAffinity = want.Spec.Selector, want.Spec.Ports, want.Spec.SessionAffinity
		if !equality.Semantic.DeepEqual(have, next) {
			tables.Services.Put(s.tx, next)
		}
	}
}
