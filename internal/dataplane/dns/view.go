package dns

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/types"
)

// Member is a pod on a tenants' network.
type Member struct {
	Namespace, Pod string
	Names          []string // beside its own, lower case
	UID            types.UID
	Addresses      []netip.Addr
}

func (m Member) key() string { return m.Pod + "." + m.Namespace }

// Front is a service as it is known on a tenants' network.
type Front struct {
	Namespace, Service string
	Names              []string     // lower case
	Addresses          []netip.Addr // none: names lead to its pods
}

// View is how a pod of this node asks.
type View struct {
	Namespace, Pod string
	UID            types.UID
	Networks       []string // "NETWORK.NS", that it says it is on
	Only           bool     // it is on no other
}

// members is a network as its pods see it.
type members struct {
	nodes  map[string][]Member
	pods   map[string]Member     // "pod.ns"
	names  map[netip.Addr]string // of pods
	fronts map[string]*Front     // by who set them
}

func (z *Zone) membersLocked(network string) *members {
	m := z.networks[network]
	if m == nil {
		m = &members{nodes: map[string][]Member{}, pods: map[string]Member{}, names: map[netip.Addr]string{}, fronts: map[string]*Front{}}
		z.networks[network] = m
	}
	return m
}

func (z *Zone) tidyLocked(network string) {
	if m := z.networks[network]; len(m.nodes)+len(m.fronts) == 0 {
		delete(z.networks, network)
	}
}

// SetFront sets what a service is on a network, "NETWORK.NS"; nil: nothing. The id is the
// caller's name for it.
func (z *Zone) SetFront(network, id string, f *Front) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := z.membersLocked(network)
	if m.fronts[id] = f; f == nil {
		delete(m.fronts, id)
	}
	z.tidyLocked(network)
}

// SetMembers sets the pods of a network, "NETWORK.NS", on one node; none: there are none.
func (z *Zone) SetMembers(network, node string, all []Member) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := z.membersLocked(network)
	for _, old := range m.nodes[node] { // of which another node may have a successor by now
		if m.pods[old.key()].UID == old.UID {
			delete(m.pods, old.key())
		}
		for _, a := range old.Addresses {
			if m.names[a] == old.Pod {
				delete(m.names, a)
			}
		}
	}
	for _, next := range all {
		m.pods[next.key()] = next
		for _, a := range next.Addresses {
			m.names[a] = next.Pod
		}
	}
	if m.nodes[node] = all; len(all) == 0 {
		delete(m.nodes, node)
	}
	z.tidyLocked(network)
}

// SetView sets as whom an address asks.
func (z *Zone) SetView(a netip.Addr, v *View) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.views[a] = v
}

// DeleteView lets an address ask as anybody again, if it is this pod's still.
func (z *Zone) DeleteView(a netip.Addr, namespace, pod string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if v := z.views[a]; v != nil && v.Namespace == namespace && v.Pod == pod {
		delete(z.views, a)
	}
}

// viewLocked returns the view of who asks, with the networks that it is on indeed.
func (z *Zone) viewLocked(from netip.Addr) View {
	v := z.views[from]
	if v == nil {
		return View{}
	}
	is := *v
	is.Networks = nil
	for _, n := range v.Networks {
		if m := z.networks[n]; m != nil && m.pods[v.Pod+"."+v.Namespace].UID == v.UID {
			is.Networks = append(is.Networks, n)
		}
	}
	return is
}

// seenLocked returns what a name is on networks of the view: the services that are known
// by it on the first of them where there are any, else a service of the view's namespace as its
// pods are there, or the pod of that name. Nil: there is none. Labels are the name and what
// is below it.
func (z *Zone) seenLocked(labels []string, v View, networks []string) *service {
	name := labels[len(labels)-1]
	for _, n := range networks {
		if s := z.frontLocked(name, n, len(labels) > 1); s != nil {
			return s
		}
	}
	seen := &service{name: name, namespace: v.Namespace}
	if s := z.services[seen.key()]; s != nil {
		if s.external != "" {
			return s
		}
		seen.ports = s.ports
		for _, n := range networks {
			z.joinLocked(seen, s, n)
		}
	}
	for _, n := range networks {
		if len(seen.endpoints) > 0 {
			break
		}
		for _, m := range z.networks[n].called(name, v.Namespace, n) {
			for _, a := range m.Addresses {
				seen.endpoints = append(seen.endpoints, endpoint{host: name, address: a, pod: m.Pod})
			}
		}
	}
	if len(seen.endpoints) == 0 {
		return nil
	}
	return seen
}

// called returns the pods of a name: of the asker's namespace, else of the network's, else
// those that have it beside their own.
func (m *members) called(name, namespace, network string) (all []Member) {
	_, own, _ := strings.Cut(network, ".")
	for _, ns := range []string{namespace, own} {
		if p, ok := m.pods[name+"."+ns]; ok {
			return []Member{p}
		}
	}
	for _, p := range m.pods {
		if slices.Contains(p.Names, name) {
			all = append(all, p)
		}
	}
	return all
}

// frontLocked returns the services that are known by a name on a network, as one; nil:
// there is none. Their pods are there if they are asked for, and where there is no address.
func (z *Zone) frontLocked(name, network string, pods bool) *service {
	m := z.networks[network]
	if m == nil {
		return nil
	}
	var seen *service
	for _, id := range slices.Sorted(maps.Keys(m.fronts)) {
		f := m.fronts[id]
		if !slices.Contains(f.Names, name) {
			continue
		}
		if seen == nil {
			seen = &service{name: name, namespace: f.Namespace}
		}
		seen.addresses = append(seen.addresses, f.Addresses...)
		if s := z.services[f.Service+"."+f.Namespace]; s != nil {
			seen.ports = append(seen.ports, s.ports...)
			if pods || len(seen.addresses) == 0 {
				z.joinLocked(seen, s, network)
			}
		}
	}
	return seen
}

// joinLocked adds a service's pods as they are on a network.
func (z *Zone) joinLocked(seen, s *service, network string) {
	has := map[netip.Addr]bool{}
	for _, e := range seen.endpoints {
		has[e.address] = true
	}
	for _, e := range s.endpoints {
		for _, a := range z.networks[network].pods[e.pod+"."+s.namespace].Addresses {
			if has[a] {
				continue // by a slice of the other family
			}
			has[a] = true
			at := endpoint{host: e.host, address: a, ports: e.ports, pod: e.pod}
			if e.host == dashed(e.address) {
				at.host = dashed(a)
			}
			seen.endpoints = append(seen.endpoints, at)
		}
	}
}

// lookupNetwork answers for names of the kind "net", to members only.
func (z *Zone) lookupNetwork(labels []string, q dns.Question, v View) Reply {
	n := len(labels)
	if n < 2 {
		return Reply{Exists: n == 0 || slices.ContainsFunc(v.Networks, func(on string) bool { return strings.HasSuffix(on, "."+labels[0]) })}
	}
	network := labels[n-2] + "." + labels[n-1]
	if !slices.Contains(v.Networks, network) {
		return Reply{}
	}
	if n == 2 {
		return Reply{Exists: true}
	}
	return z.lookupWithin(labels[:n-2], z.seenLocked(labels[:n-2], v, []string{network}), "."+network+".net.", q)
}

// namedLocked returns the name of an address in the networks of a view; empty: none.
func (z *Zone) namedLocked(a netip.Addr, v View) string {
	for _, n := range v.Networks {
		if pod := z.networks[n].names[a]; pod != "" {
			return pod + "." + n + ".net." + z.domain
		}
	}
	return ""
}
