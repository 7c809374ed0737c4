package dataplane

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/dns"
	"trireme/internal/dataplane/link"
	"trireme/internal/dataplane/nft"
	"trireme/internal/dataplane/plugin"
	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/object/network"
)

// Members is the pods of a tenant's network on one node (package network).
type Members struct{ *discoveryv1.EndpointSlice }

// tenants is the networks of this node's pods beside the cluster's own.
type tenants struct {
	zone     *dns.Zone
	networks map[object.Key]*network.Network
	members  map[string]map[string]*Members // by the network's ID, node

	mu      *sync.Mutex // of what CNI calls look at
	spaces  map[object.Key]space
	pending bool // not all is as it should be
}

// space is a network that pods can be put on.
type space struct {
	*link.Space
	network  *network.Network
	members  *Members // on this node; nil: none
	subnets  []netip.Prefix
	gateways []netip.Addr        // of these
	outs     []netip.Addr        // by which it is left, one a family
	fronts   nft.Fronts          // that the kernel was told
	led      map[netip.Addr]bool // pods' addresses that connections may have been led to
}

// leads reports whether addresses of that family reach the world by the network.
func (s space) leads(of netip.Addr) bool {
	return slices.ContainsFunc(s.outs, func(a netip.Addr) bool { return a.Is4() == of.Is4() })
}

func newTenants(zone *dns.Zone) tenants {
	return tenants{
		zone:     zone,
		networks: map[object.Key]*network.Network{}, members: map[string]map[string]*Members{},
		mu: &sync.Mutex{}, spaces: map[object.Key]space{},
	}
}

func spacesDir(root string) string { return filepath.Join(root, "networks") }

// note takes a network or members over.
func (t *tenants) note(o metav1.Object, deleted bool) {
	switch o := o.(type) {
	case *network.Network:
		put(t.networks, object.KeyOf(o), o, deleted)
	case *Members:
		if t.members[o.Namespace] == nil {
			t.members[o.Namespace] = map[string]*Members{}
		}
		put(t.members[o.Namespace], o.Name, o, deleted)
		t.name(o, deleted)
		if len(t.members[o.Namespace]) == 0 {
			delete(t.members, o.Namespace)
		}
	}
}

// name tells DNS of a network's pods on a node, or of a service on it.
func (t *tenants) name(m *Members, deleted bool) {
	of := network.OfID(m.Namespace)
	if f, ok := network.FrontOf(m.EndpointSlice); ok {
		known := &dns.Front{Namespace: f.Service.Namespace, Service: f.Service.Name, Names: f.Names, Addresses: f.Addresses}
		if deleted {
			known = nil
		}
		t.zone.SetFront(zoneName(of), m.Name, known)
		return
	}
	var all []dns.Member
	for _, e := range m.Endpoints {
		if !deleted && e.TargetRef != nil {
			pod := network.PodOf(of, e.TargetRef)
			all = append(all, dns.Member{Namespace: pod.Namespace, Pod: pod.Name, Names: network.NamesOf(&e), UID: e.TargetRef.UID, Addresses: addresses(e)})
		}
	}
	t.zone.SetMembers(zoneName(of), m.Name, all)
}

// zoneName returns what DNS calls a network.
func zoneName(network object.Key) string { return network.Name + "." + network.Namespace }

// view returns how a pod asks DNS; nil: as anybody.
func view(pod *corev1.Pod) *dns.View {
	asked, err := network.Selections(pod)
	if err != nil || len(asked) == 0 {
		return nil
	}
	v := &dns.View{Namespace: pod.Namespace, Pod: pod.Name, UID: pod.UID, Only: network.Only(pod)}
	for _, s := range asked {
		v.Networks = append(v.Networks, zoneName(s.Key))
	}
	return v
}

func (t *tenants) all() (all []metav1.Object) {
	for _, n := range t.networks {
		all = append(all, n)
	}
	for _, nodes := range t.members {
		for _, m := range nodes {
			all = append(all, m)
		}
	}
	return all
}

// close lets go of the spaces, so that they are opened anew.
func (t *tenants) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.spaces {
		s.Close()
	}
	t.spaces = map[object.Key]space{}
}

// applyTenants makes the spaces of the networks, and the ways to their pods elsewhere.
func (d *Dataplane) applyTenants(w *dirty, full bool) error {
	t := &d.tenants
	if !full && !w.tenants && !t.pending && (!w.nodes || len(t.networks) == 0) && !t.fronted(w) || !d.placed() {
		return nil
	}
	var errs []error
	keep := map[int]bool{}
	next := map[object.Key]space{}
	for key, n := range t.networks {
		if n.Status.VNI == 0 {
			continue
		}
		keep[int(n.Status.VNI)] = true
		s, err := d.applyTenant(key, n)
		errs = append(errs, err)
		if s.Space == nil {
			continue
		}
		next[key] = s
		if full {
			errs = append(errs, s.PrunePods(d.knows))
		}
	}
	t.mu.Lock()
	for key, s := range t.spaces {
		if next[key].Space != s.Space {
			s.Close()
		}
	}
	t.spaces = next
	t.mu.Unlock()
	err := errors.Join(append(errs, d.links.PruneSpaces(spacesDir(d.cfg.Root), keep))...)
	t.pending = err != nil
	return err
}

func (d *Dataplane) applyTenant(key object.Key, n *network.Network) (s space, err error) {
	t := &d.tenants
	t.mu.Lock()
	s = t.spaces[key]
	t.mu.Unlock()
	fresh := s.Space == nil
	if fresh || s.network.Status.VNI != n.Status.VNI || s.network.UID != n.UID {
		pools, err := n.Pools()
		if err != nil {
			return space{}, err
		}
		s, fresh = space{}, true
		for _, p := range pools {
			s.subnets, s.gateways = append(s.subnets, p.Prefix), append(s.gateways, p.Gateway)
		}
		s.outs = d.outs(n, s.subnets)
		s.Space, err = d.links.OpenSpace(spacesDir(d.cfg.Root), link.SpaceConfig{
			VNI: int(n.Status.VNI), Subnets: s.subnets, MTU: int(n.Spec.MTU), Self: d.cfg.Node, Local: d.cfg.NodeIPs[0], Outs: s.outs,
		})
		if err != nil {
			return space{}, err
		}
		if err := d.lead(key, &s, true); err != nil {
			s.Close()
			return space{}, err
		}
	}
	s.network, s.members = n, t.members[network.ID(key)][d.cfg.Node]
	remotes := map[netip.Addr]link.Remote{}
	for node, m := range t.members[network.ID(key)] {
		peer, ok := d.peers[node]
		if node == d.cfg.Node || !ok {
			continue
		}
		for _, e := range m.Endpoints {
			for _, a := range addresses(e) {
				remotes[a] = link.Remote{Node: node, Address: peer.Address}
			}
		}
	}
	err = s.Remotes(remotes)
	if !fresh {
		err = errors.Join(err, d.lead(key, &s, false))
	}
	return s, err
}

// ways out take their addresses from these, by VNI. They are seen on this node alone.
var outs4, outs6 = netip.MustParsePrefix("169.254.64.0/18"), netip.MustParsePrefix("fd74:7269:7265::4000/114")

func outsOf(v6 bool) netip.Prefix {
	if v6 {
		return outs6
	}
	return outs4
}

// outs returns by which addresses pods of a network leave this node: one of each family
// that both have.
func (d *Dataplane) outs(n *network.Network, subnets []netip.Prefix) (all []netip.Addr) {
	for _, s := range d.stacks {
		if n.Spec.Internal || !slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Addr().Is6() == s.v6() }) {
			continue
		}
		b := outsOf(s.v6()).Addr().AsSlice()
		last := b[len(b)-2:]
		binary.BigEndian.PutUint16(last, binary.BigEndian.Uint16(last)+uint16(n.Status.VNI-network.VNIMin))
		a, _ := netip.AddrFromSlice(b)
		all = append(all, a)
	}
	return all
}

// guardSpace writes the rules of a space.
func (d *Dataplane) guardSpace(s space) error {
	for i, p := range s.subnets {
		out := ""
		if s.leads(p.Addr()) {
			out = link.OutLink
		}
		table, err := nft.Open(int(s.NS()), d.cfg.Bridge, p.Addr().Is6())
		if err == nil {
			err = table.RebuildSpace(nft.SpaceBase{PodLinks: link.PodLinks, Out: out, Gateway: s.gateways[i]}, s.fronts)
			table.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leads reports whether a network of that way out is ours. It is called by Apply.
func (t *tenants) leads(out string) bool {
	for _, n := range t.networks {
		if link.Out(int(n.Status.VNI)) == out {
			return true
		}
	}
	return false
}

// outs returns the node's ends of the spaces' ways out.
func (t *tenants) outs(l *link.Links) map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	hosts := map[string]bool{}
	for _, s := range t.spaces {
		hosts[l.Host(link.Out(int(s.network.Status.VNI)))] = true
	}
	return hosts
}

func addresses(e discoveryv1.Endpoint) (all []netip.Addr) {
	for _, text := range e.Addresses {
		if a, err := netip.ParseAddr(text); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// attachment is a link that a pod is to have on a network.
type attachment struct {
	on  *link.Space
	pod link.Pod
}

// awaitTenants returns what a pod needs of its tenants' networks, once all of them are
// there and gave it addresses, and what it reaches by eth0 then; nil: everything.
func (d *Dataplane) awaitTenants(ctx context.Context, r plugin.Request, name string) ([]attachment, []netip.Prefix, error) {
	ctx, cancel := context.WithTimeout(ctx, podWaitMax)
	defer cancel()
	ns, bare, _ := strings.Cut(name, "/")
	for {
		d.podsMu.Lock()
		pod, changed := d.settled[types.NamespacedName{Namespace: ns, Name: bare}], d.changed
		d.podsMu.Unlock()
		all, routes, missing, err := d.attachments(pod, r)
		if err != nil {
			return nil, nil, refused(plugin.CodeInvalidEnvironment, err.Error())
		}
		if missing == "" {
			return all, routes, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, refused(plugin.CodeTryAgain, "pod "+name+" has no address on network "+missing+" yet: see the pod's events")
		}
	}
}

// attachments returns the links that a pod is to have and what it reaches by eth0, or a
// network that is missing.
func (d *Dataplane) attachments(pod *corev1.Pod, r plugin.Request) (all []attachment, routes []netip.Prefix, missing string, err error) {
	if pod == nil {
		return nil, nil, "", nil
	}
	asked, err := network.Selections(pod)
	if err != nil || len(asked) == 0 {
		return nil, nil, "", err
	}
	d.tenants.mu.Lock()
	defer d.tenants.mu.Unlock()
	ways := network.Outs(pod, asked, func(key object.Key) *network.Network { return d.tenants.spaces[key].network })
	for i, sel := range asked {
		s := d.tenants.spaces[sel.Key]
		given := s.given(pod)
		if len(given) == 0 {
			return nil, nil, sel.Key.String(), nil
		}
		reached := slices.Clone(s.subnets)
		for _, a := range given {
			if by, led := ways[family.Of(a)]; led && by == i && s.leads(a) {
				reached = append(reached, link.Everywhere(a))
			}
		}
		all = append(all, attachment{s.Space, link.Pod{
			ID: r.ContainerID, Name: object.KeyOf(pod).String(), Addresses: given, NetNS: r.NetNS, IfName: sel.Interface, Routes: reached,
		}})
	}
	return all, d.beside(pod, ways), "", nil
}

// beside returns what a pod on tenants' networks reaches by eth0. That is always the
// node's DNS, and where its node asks from, also where the addresses of a network hide them.
func (d *Dataplane) beside(pod *corev1.Pod, ways map[corev1.IPFamily]int) (routes []netip.Prefix) {
	for _, s := range d.stacks {
		if !s.subnet.IsValid() {
			continue // no pod has an address of it
		}
		for _, a := range []netip.Addr{s.DNS, d.links.Gateway(s.DNS)} {
			routes = append(routes, netip.PrefixFrom(a, a.BitLen()))
		}
		switch _, led := ways[s.family()]; {
		case network.Only(pod):
		case led:
			routes = append(routes, s.Pods, s.Services)
		default:
			routes = append(routes, link.Everywhere(s.DNS))
		}
	}
	return routes
}

// given returns the addresses that the pod has on the network; none: not yet.
func (s space) given(pod *corev1.Pod) []netip.Addr {
	if s.Space == nil || s.members == nil {
		return nil
	}
	for _, e := range s.members.Endpoints {
		if network.Of(e.TargetRef, pod.Name, pod.UID) {
			return addresses(e)
		}
	}
	return nil
}

// join puts a pod on its networks.
func (d *Dataplane) join(all []attachment) error {
	d.tenants.mu.Lock()
	defer d.tenants.mu.Unlock()
	for _, a := range all {
		if _, err := a.on.AddPod(a.pod); err != nil {
			return err
		}
	}
	return nil
}

// leave takes a sandbox's links on all networks away.
func (t *tenants) leave(sandbox string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, s := range t.spaces {
		errs = append(errs, s.DelPod(sandbox))
	}
	return errors.Join(errs...)
}
