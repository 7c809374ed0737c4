package endpoints

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const (
	manager  = "endpointslice-controller.k8s.io"
	sliceMax = 100 // endpoints
)

// slice is what the loop knows of one EndpointSlice.
type slice struct {
	key     object.Key
	of      discoveryv1.AddressType
	ports   string // signature
	pods    map[object.Key]bool
	written *discoveryv1.EndpointSlice // as it stands in the table; nil: not there
	changed bool
}

func ours(o *discoveryv1.EndpointSlice) bool { return o.Labels[discoveryv1.LabelManagedBy] == manager }

// load takes in the service's slices as they stand and returns their keys. Every
// pod in them is looked at in the next sync.
func (s *service) load(tx *store.Tx) []object.Key {
	var keys []object.Key
	for row := range tables.EndpointSlices.By(tx, tables.OwnerIndex, string(s.svc.UID)) {
		o := row.Object()
		if !ours(o) {
			continue
		}
		sl := &slice{key: row.Key(), of: o.AddressType, written: o, changed: true, pods: map[object.Key]bool{}}
		sl.ports = signatureOf(o)
		for i := range o.Endpoints {
			ref := o.Endpoints[i].TargetRef
			if ref == nil {
				continue
			}
			pod := object.Key{Namespace: ref.Namespace, Name: ref.Name}
			s.touched[pod] = true
			if at := (place{pod, sl.of}); s.where[at] == nil {
				s.where[at] = sl
				sl.pods[pod] = true
			}
		}
		s.slices = append(s.slices, sl)
		keys = append(keys, sl.key)
	}
	return keys
}

func signatureOf(o *discoveryv1.EndpointSlice) string {
	ports := slices.Clone(o.Ports)
	for i := range ports {
		if ports[i].Name == nil {
			ports[i].Name = new(string)
		}
		if ports[i].Port == nil {
			ports[i].Port = new(int32)
		}
		if ports[i].Protocol == nil {
			tcp := corev1.ProtocolTCP
			ports[i].Protocol = &tcp
		}
	}
	return signature(ports)
}

// disturbed reports whether the slice at key is not what was written there; the
// next sync then writes it again.
func (s *service) disturbed(key object.Key, o *discoveryv1.EndpointSlice, ok bool) bool {
	for _, sl := range s.slices {
		if sl.key != key {
			continue
		}
		if ok && o == sl.written {
			return false
		}
		sl.changed = true
		if sl.written = nil; ok {
			sl.written = o
		}
		return true
	}
	return false
}

// sync moves touched pods to where they belong and writes the slices that
// changed. It returns how many it wrote.
func (s *service) sync(tx *store.Tx, all map[object.Key]*service) (wrote int) {
	types := s.types()
	for _, pod := range object.SortedKeys(s.touched) {
		for _, t := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			s.place(place{pod, t}, slices.Contains(types, t))
		}
	}
	clear(s.touched)
	keep := map[*slice]bool{} // of each family one, though it be empty, so that readers know that it was looked at
	for _, t := range types {
		keep[s.first(t)] = true
	}
	s.slices = slices.DeleteFunc(s.slices, func(sl *slice) bool {
		if len(sl.pods) > 0 || keep[sl] {
			return false
		}
		if sl.written != nil {
			tables.EndpointSlices.Delete(tx, sl.key)
			delete(all, sl.key)
		}
		return true
	})
	for _, sl := range s.slices {
		if sl.changed {
			s.write(tx, sl)
			all[sl.key] = s
			wrote++
		}
	}
	return wrote
}

// first returns the slice of a family that stays in any case: one with endpoints, else
// the first one, else a new one.
func (s *service) first(t discoveryv1.AddressType) *slice {
	for _, empty := range []bool{false, true} {
		i := slices.IndexFunc(s.slices, func(sl *slice) bool { return sl.of == t && (len(sl.pods) == 0) == empty })
		if i >= 0 {
			return s.slices[i]
		}
	}
	sl := &slice{of: t, pods: map[object.Key]bool{}, changed: true}
	s.slices = append(s.slices, sl)
	return sl
}

// place puts a pod into a slice of its family and ports, or takes it out.
func (s *service) place(p place, wanted bool) {
	pod := p.pod
	f, member := s.members[pod]
	member = member && wanted && f.in(p.of) != ""
	at := s.where[p]
	if at != nil {
		at.changed = true
		if member && at.ports == f.ports {
			return
		}
		delete(at.pods, pod)
		delete(s.where, p)
	}
	if !member {
		return
	}
	i := slices.IndexFunc(s.slices, func(sl *slice) bool {
		return sl.of == p.of && (len(sl.pods) == 0 || sl.ports == f.ports && len(sl.pods) < sliceMax)
	})
	if i < 0 {
		i = len(s.slices)
		s.slices = append(s.slices, &slice{of: p.of, pods: map[object.Key]bool{}})
	}
	sl := s.slices[i]
	sl.ports, sl.changed = f.ports, true
	sl.pods[pod] = true
	s.where[p] = sl
}

// write puts the slice, unless it stands so already.
func (s *service) write(tx *store.Tx, sl *slice) {
	sl.changed = false
	next := &discoveryv1.EndpointSlice{}
	switch {
	case sl.written != nil:
		next.ObjectMeta = *sl.written.ObjectMeta.DeepCopy()
	default:
		if sl.key.Name == "" {
			sl.key = newKey(tx, s.key)
		}
		next.Namespace, next.Name, next.GenerateName = sl.key.Namespace, sl.key.Name, s.key.Name+"-"
		next.Generation = 1
	}
	next.Labels = s.labels()
	next.OwnerReferences = []metav1.OwnerReference{object.ControllerRef(s.svc, tables.Services.GVK())}
	next.AddressType, next.Ports, next.Endpoints = sl.of, parse(sl.ports), []discoveryv1.Endpoint{}
	for _, pod := range object.SortedKeys(sl.pods) {
		next.Endpoints = append(next.Endpoints, s.endpoint(pod, sl.of))
	}
	if sl.written != nil && equality.Semantic.DeepEqual(next, sl.written) {
		return
	}
	if sl.written != nil {
		next.Generation++
	}
	tables.EndpointSlices.Put(tx, next)
	sl.written = next
}

func newKey(tx *store.Tx, svc object.Key) object.Key {
	for {
		key := object.Key{Namespace: svc.Namespace, Name: tx.NewName(svc.Name + "-")}
		if _, taken := tables.EndpointSlices.Row(tx, key); !taken {
			return key
		}
	}
}

// labels returns the labels of the service's slices: its own and those that
// readers find slices by.
func (s *service) labels() map[string]string {
	l := maps.Clone(s.svc.Labels)
	if l == nil {
		l = map[string]string{}
	}
	l[discoveryv1.LabelServiceName], l[discoveryv1.LabelManagedBy] = s.key.Name, manager
	if headless(s.svc) {
		l[corev1.IsHeadlessService] = ""
	}
	return l
}

func (s *service) endpoint(pod object.Key, of discoveryv1.AddressType) discoveryv1.Endpoint {
	f := s.members[pod]
	e := discoveryv1.Endpoint{
		Addresses:  []string{f.in(of)},
		Conditions: discoveryv1.EndpointConditions{Ready: &f.ready, Serving: &f.serving, Terminating: &f.terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: f.uid},
	}
	if f.node != "" {
		e.NodeName = &f.node
	}
	if f.hostname != "" {
		e.Hostname = &f.hostname
	}
	if f.zone != "" {
		e.Zone = &f.zone
	}
	if f.ready {
		e.Hints = s.hints(f)
	}
	return e
}

// hints says for whom an endpoint is near (Kubernetes, "Traffic distribution").
// nil: for everyone.
func (s *service) hints(f facts) *discoveryv1.EndpointHints {
	h := &discoveryv1.EndpointHints{}
	switch spread(s.svc) {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if f.node != "" {
			h.ForNodes = []discoveryv1.ForNode{{Name: f.node}}
		}
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
	default:
		return nil
	}
	if f.zone != "" {
		h.ForZones = []discoveryv1.ForZone{{Name: f.zone}}
	}
	if len(h.ForNodes)+len(h.ForZones) == 0 {
		return nil
	}
	return h
}
