package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/types"
)

// Member is a pod on a tenants' network.
type Member struct {
	Pod       string
	UID       types.UID
	Addresses []netip.Addr
}

// View is how a pod of this node asks.
type View struct {
	Namespace, Pod string
	UID            types.UID
	Networks       []string // of its namespace, that it says it is on
	Only           bool     // it is on no other
}

// members is a network as its pods see it.
type members struct {
	nodes map[string][]Member
	pods  map[string]Member
	names map[netip.Addr]string // of pods
}

// SetMembers sets the pods of a network, "NETWORK.NS", on one node; none: there are none.
func (z *Zone) SetMembers(network, node string, all []Member) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := z.networks[network]
	if m == nil {
		m = &members{nodes: map[string][]Member{}, pods: map[string]Member{}, names: map[netip.Addr]string{}}
		z.networks[network] = m
	}
	for _, old := range m.nodes[node] { // of which another node may have a successor by now
		if m.pods[old.Pod].UID == old.UID {
			delete(m.pods, old.Pod)
		}
		for _, a := range old.Addresses {
			if m.names[a] == old.Pod {
				delete(m.names, a)
			}
		}
	}
	for _, next := range all {
		m.pods[next.Pod] = next
		for _, a := range next.Addresses {
			m.names[a] = next.Pod
		}
	}
	if m.nodes[node] = all; len(all) == 0 {
		delete(m.nodes, node)
	}
	if len(m.nodes) == 0 {
		delete(z.networks, network)
	}
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
		if m := z.networks[n+"."+v.Namespace]; m != nil && m.pods[v.Pod].UID == v.UID {
			is.Networks = append(is.Networks, n)
		}
	}
	return is
}

// seenLocked returns a service of the view's namespace as it is on networks of the view:
// its pods' addresses there, no address of its own. Where there is no such service it is
// the pod of that name, nil where there is neither.
func (z *Zone) seenLocked(name string, v View, networks []string) *service {
	seen, has := &service{name: name, namespace: v.Namespace}, map[netip.Addr]bool{}
	if s := z.services[seen.key()]; s != nil {
		if s.external != "" {
			return s
		}
		seen.ports = s.ports
		for _, e := range s.endpoints {
			for _, n := range networks {
				for _, a := range z.networks[n+"."+v.Namespace].pods[e.pod].Addresses {
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
	}
	for _, n := range networks {
		if len(seen.endpoints) > 0 {
			break
		}
		for _, a := range z.networks[n+"."+v.Namespace].pods[name].Addresses {
			seen.endpoints = append(seen.endpoints, endpoint{host: name, address: a, pod: name})
		}
	}
	if len(seen.endpoints) == 0 {
		return nil
	}
	return seen
}

// lookupNetwork answers for names of the kind "net", to members only.
func (z *Zone) lookupNetwork(labels []string, q dns.Question, v View) Reply {
	n := len(labels)
	if n < 2 || labels[n-1] != v.Namespace || !slices.Contains(v.Networks, labels[n-2]) {
		return Reply{Exists: n == 0 || n == 1 && labels[0] == v.Namespace && len(v.Networks) > 0}
	}
	if n == 2 {
		return Reply{Exists: true}
	}
	in := labels[n-2 : n-1]
	return z.lookupWithin(labels[:n-2], z.seenLocked(labels[n-3], v, in), "."+strings.Join(labels[n-2:], ".")+".net.", q)
}

// namedLocked returns the name of an address in the networks of a view; empty: none.
func (z *Zone) namedLocked(a netip.Addr, v View) string {
	for _, n := range v.Networks {
		if pod := z.networks[n+"."+v.Namespace].names[a]; pod != "" {
			return pod + "." + n + "." + v.Namespace + ".net." + z.domain
		}
	}
	return ""
}
