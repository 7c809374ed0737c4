package dataplane

import (
	"maps"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/balance"
	"trireme/internal/dataplane/nft"
	"trireme/internal/object"
	"trireme/internal/object/network"
)

// fronted reports whether a service that is dirty has an address on a network.
func (t *tenants) fronted(w *dirty) bool {
	for key := range w.services {
		name := network.FrontName(object.Key(key))
		for _, rows := range t.members {
			if rows[name] != nil {
				return true
			}
		}
	}
	return false
}

// fronts returns the addresses that services have on a network, each with those of the
// pods there that are ready.
func (d *Dataplane) fronts(key object.Key) nft.Fronts {
	pods := map[object.Key][]netip.Addr{}
	var all []network.Front
	for _, m := range d.tenants.members[network.ID(key)] {
		if f, ok := network.FrontOf(m.EndpointSlice); ok {
			all = append(all, f)
			continue
		}
		for _, e := range m.Endpoints {
			if e.TargetRef != nil {
				pods[network.PodOf(key, e.TargetRef)] = addresses(e)
			}
		}
	}
	out := nft.Fronts{}
	for _, f := range all {
		to := d.readyOn(f.Service, pods)
		for _, a := range f.Addresses {
			out[a] = slices.DeleteFunc(slices.Clone(to), func(b netip.Addr) bool { return a.Is4() != b.Is4() })
		}
	}
	return out
}

// readyOn returns the addresses of a service's pods that are ready, in order, of those
// that pods have.
func (d *Dataplane) readyOn(service object.Key, pods map[object.Key][]netip.Addr) (all []netip.Addr) {
	for _, s := range d.slices[types.NamespacedName(service)] {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" && balance.Ready(e) {
				all = append(all, pods[object.Key{Namespace: service.Namespace, Name: e.TargetRef.Name}]...)
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all) // a pod is in a slice of each family
}

// lead has the addresses of services on a network lead where they should. Who was led to
// a pod that is there no more is led anew: to one that does not know the connection.
func (d *Dataplane) lead(key object.Key, s *space, fresh bool) error {
	want := d.fronts(key)
	if fresh || !maps.EqualFunc(want, s.fronts, slices.Equal) {
		was := s.fronts
		s.fronts = want
		if err := d.guardSpace(*s); err != nil {
			s.fronts = was
			return err
		}
	}
	here := map[netip.Addr]bool{}
	for _, m := range d.tenants.members[network.ID(key)] {
		for _, e := range m.Endpoints {
			for _, a := range addresses(e) {
				here[a] = true
			}
		}
	}
	gone := map[netip.Addr]bool{}
	for a := range s.led {
		if !here[a] {
			gone[a] = true
		}
	}
	if len(gone) > 0 {
		if err := s.ForgetLed(gone); err != nil {
			return err
		}
	}
	s.led = map[netip.Addr]bool{}
	for a := range here {
		s.led[a] = true
	}
	return nil
}
