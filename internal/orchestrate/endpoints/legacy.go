package endpoints

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const (
	legacyManagedBy = "endpoints.kubernetes.io/managed-by"
	legacyManager   = "endpoint-controller"

	legacyMax   = 1000        // addresses
	legacyEager = 100         // so many are written at every change
	legacyPause = time.Second // between two writes where there are more
)

// syncLegacy writes the old form of the service's endpoints, unless it stands so
// already.
func (s *service) syncLegacy(tx *store.Tx) {
	next := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: s.key.Name}}
	have, ok := tables.Endpoints.Get(tx, s.key)
	if ok {
		next = have.DeepCopy()
	}
	next.Labels = maps.Clone(s.svc.Labels)
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	next.Labels[legacyManagedBy] = legacyManager
	if headless(s.svc) {
		next.Labels[corev1.IsHeadlessService] = ""
	}
	delete(next.Annotations, corev1.EndpointsOverCapacity)
	if len(s.members) > legacyMax {
		if next.Annotations == nil {
			next.Annotations = map[string]string{}
		}
		next.Annotations[corev1.EndpointsOverCapacity] = "truncated"
	}
	next.Subsets = s.subsets()
	if ok && equality.Semantic.DeepEqual(have, next) {
		return
	}
	tables.Endpoints.Put(tx, next)
	if len(s.members) > legacyEager {
		s.legacyAt = tx.Now().Add(legacyPause)
	}
}

// subsets groups the endpoints by their ports. Pods on their way out are not in
// the old form, unless the service publishes all.
func (s *service) subsets() []corev1.EndpointSubset {
	groups := map[string]*corev1.EndpointSubset{}
	primary := s.types()[0] // the old form has one family
	n := 0
	for _, pod := range object.SortedKeys(s.members) {
		f := s.members[pod]
		if f.in(primary) == "" || f.terminating && !f.ready || n == legacyMax {
			continue
		}
		n++
		g := groups[f.ports]
		if g == nil {
			g = &corev1.EndpointSubset{Ports: legacyPorts(f.ports)}
			groups[f.ports] = g
		}
		if a := address(pod, f, primary); f.ready {
			g.Addresses = append(g.Addresses, a)
		} else {
			g.NotReadyAddresses = append(g.NotReadyAddresses, a)
		}
	}
	var out []corev1.EndpointSubset
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		byIP := func(a, b corev1.EndpointAddress) int { return strings.Compare(a.IP, b.IP) }
		slices.SortStableFunc(groups[k].Addresses, byIP)
		slices.SortStableFunc(groups[k].NotReadyAddresses, byIP)
		out = append(out, *groups[k])
	}
	return out
}

func legacyPorts(signature string) []corev1.EndpointPort {
	ports := parse(signature)
	var out []corev1.EndpointPort
	for _, p := range ports {
		out = append(out, corev1.EndpointPort{Name: *p.Name, Port: *p.Port, Protocol: *p.Protocol, AppProtocol: p.AppProtocol})
	}
	return out
}

func address(pod object.Key, f facts, of discoveryv1.AddressType) corev1.EndpointAddress {
	a := corev1.EndpointAddress{
		IP: f.in(of), Hostname: f.hostname,
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: f.uid},
	}
	if f.node != "" {
		a.NodeName = &f.node
	}
	return a
}
