package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/balance"
	"trireme/internal/dataplane/dns"
	"trireme/internal/dataplane/link"
	"trireme/internal/dataplane/nft"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/object/floating"
	"trireme/internal/object/network"
	"trireme/internal/object/peers"
	"trireme/internal/object/route"
)

// Change is an object as it is now, or its deletion. Object is a *corev1.Service,
// *discoveryv1.EndpointSlice, *corev1.Node, *corev1.Pod, *networkingv1.NetworkPolicy,
// *peers.Part, *floating.IP, *route.Part, *corev1.Secret, *network.Network or *Members,
// and is not changed.
type Change struct {
	Object  metav1.Object
	Deleted bool
}

// dirty is what one Apply has to look at.
type dirty struct {
	services map[types.NamespacedName]bool
	pods     map[types.NamespacedName]bool
	nodes    bool
	floats   bool
	tenants  bool
}

// Apply brings the kernel and DNS in line with the changes. With full the changes
// are everything there is, and what is not listed is removed. After an error
// part of it may be done; the next Apply does the rest.
func (d *Dataplane) Apply(ctx context.Context, full bool, changes []Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if full {
		changes = append(changes[:len(changes):len(changes)], d.unlisted(changes)...)
	}
	w := dirty{services: map[types.NamespacedName]bool{}, pods: map[types.NamespacedName]bool{}}
	var errs []error
	for _, c := range changes {
		errs = append(errs, d.note(c, &w))
	}
	if err := d.base(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if w.nodes || d.nodesPending {
		err := d.applyNodes(&w)
		d.nodesPending = err != nil
		errs = append(errs, err)
	}
	for key := range w.services {
		d.applyService(key)
	}
	d.proxy.Commit()
	if full {
		d.zone.Partial(false)
	}
	for key := range w.pods {
		d.applyPod(key)
	}
	errs = append(errs, d.applyExtras())
	errs = append(errs, d.applyFloats(&w, full))
	errs = append(errs, d.applyTenants(&w, full))
	err := d.writeTables()
	if err == nil {
		d.settle(w.pods)
	}
	errs = append(errs, err, d.seal.process.Err())
	if full {
		errs = append(errs, d.links.PrunePods(d.knows))
	}
	return errors.Join(errs...)
}

func keyOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// unlisted returns the deletion of each known object that changes do not name.
func (d *Dataplane) unlisted(changes []Change) []Change {
	type id struct {
		kind string
		key  types.NamespacedName
	}
	listed := map[id]bool{}
	for _, c := range changes {
		if !c.Deleted {
			listed[id{fmt.Sprintf("%T", c.Object), keyOf(c.Object)}] = true
		}
	}
	var gone []Change
	check := func(o metav1.Object) {
		if !listed[id{fmt.Sprintf("%T", o), keyOf(o)}] {
			gone = append(gone, Change{Object: o, Deleted: true})
		}
	}
	for _, o := range d.services {
		check(o)
	}
	for _, all := range d.slices {
		for _, o := range all {
			check(o)
		}
	}
	for _, o := range d.nodes {
		check(o)
	}
	for _, o := range d.floats.ips {
		check(o)
	}
	for _, o := range d.policies {
		check(o)
	}
	for _, o := range d.tenants.all() {
		check(o)
	}
	for _, o := range d.parts {
		check(o)
	}
	for o := range d.proxy.Known() {
		check(o)
	}
	d.podsMu.Lock()
	defer d.podsMu.Unlock()
	for _, o := range d.pods {
		check(o)
	}
	return gone
}

// note takes an object over and marks what depends on it.
func (d *Dataplane) note(c Change, w *dirty) error {
	key := keyOf(c.Object)
	switch o := c.Object.(type) {
	case *corev1.Service:
		put(d.services, key, o, c.Deleted)
		w.services[key] = true
	case *discoveryv1.EndpointSlice:
		d.noteSlice(o, c.Deleted, w)
	case *corev1.Node:
		put(d.nodes, o.Name, o, c.Deleted)
		w.nodes = true
	case *corev1.Pod:
		d.podsMu.Lock()
		put(d.pods, key, o, c.Deleted)
		d.podsMu.Unlock()
		w.pods[key] = true
	case *networkingv1.NetworkPolicy:
		put(d.policies, key, o, c.Deleted)
		for _, s := range d.stacks {
			s.policy.SetPolicy(key, d.policies[key])
		}
	case *peers.Part:
		put(d.parts, key, o, c.Deleted)
		var members []peers.Member
		if !c.Deleted {
			members = o.Members
		}
		for _, s := range d.stacks {
			s.policy.SetPart(o.Namespace, o.Name, members)
		}
	case *floating.IP:
		d.noteFloat(o, c.Deleted, w)
	case *route.Part:
		if c.Deleted {
			o = nil
		}
		d.proxy.SetPart(object.Key(key), o)
	case *corev1.Secret:
		if c.Deleted {
			o = nil
		}
		d.proxy.SetSecret(object.Key(key), o)
	case *network.Network, *Members:
		d.tenants.note(o, c.Deleted)
		w.tenants = true
	default:
		return kind.New(kind.Invalid, "the dataplane has no use for %T %s", c.Object, key)
	}
	return nil
}

func put[K comparable, V any](m map[K]V, k K, v V, deleted bool) {
	if deleted {
		delete(m, k)
		return
	}
	m[k] = v
}

// settle lets CNI calls have pods whose rules are written: a pod that is isolated is
// never open.
func (d *Dataplane) settle(pods map[types.NamespacedName]bool) {
	d.podsMu.Lock()
	defer d.podsMu.Unlock()
	for key := range pods {
		p := d.pods[key]
		put(d.settled, key, p, p == nil)
	}
	d.wakeLocked()
}

// wakeLocked lets CNI calls look again.
func (d *Dataplane) wakeLocked() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Dataplane) noteSlice(s *discoveryv1.EndpointSlice, deleted bool, w *dirty) {
	key, name := keyOf(s), s.Labels[discoveryv1.LabelServiceName]
	if was, ok := d.sliceOf[key]; ok && (deleted || was != name) {
		owner := types.NamespacedName{Namespace: s.Namespace, Name: was}
		delete(d.slices[owner], s.Name)
		if len(d.slices[owner]) == 0 {
			delete(d.slices, owner)
		}
		delete(d.sliceOf, key)
		w.services[owner] = true
	}
	if deleted || name == "" {
		return
	}
	owner := types.NamespacedName{Namespace: s.Namespace, Name: name}
	if d.slices[owner] == nil {
		d.slices[owner] = map[string]*discoveryv1.EndpointSlice{}
	}
	d.slices[owner][s.Name], d.sliceOf[key] = s, name
	w.services[owner] = true
}

// applyNodes sets this node's subnets and the way to the others.
func (d *Dataplane) applyNodes(w *dirty) error {
	if err := d.applySeal(w); err != nil {
		return err
	}
	peers := map[string]link.Peer{}
	clear(d.addrs)
	for _, a := range d.cfg.NodeIPs {
		d.addrs[a] = true
	}
	for name, n := range d.nodes {
		for _, a := range internal(n) {
			d.addrs[a] = true
		}
		p := d.peer(n)
		switch {
		case p.Subnets == [2]netip.Prefix{}: // not allocated yet
		case name == d.cfg.Node:
			if err := d.setSubnets(p.Subnets); err != nil {
				return err
			}
		case d.byPlugins() && object.PluginAddresses(n): // their plugins know the way
		case p.Address.IsValid():
			peers[name] = p
		}
	}
	d.peers = peers
	moved := d.moved()
	for key, svc := range d.services { // a load balancer's address may have become a node's
		if moved || len(svc.Status.LoadBalancer.Ingress) > 0 {
			w.services[key] = true
		}
	}
	if !d.placed() {
		return nil // the overlay's size and our source come from the subnets
	}
	if err := d.links.Peers(d.cfg.Node, d.cfg.NodeIPs[0], peers); err != nil {
		return err
	}
	d.tellTunnel()
	return d.meet(peers)
}

// meet tells the tables of the other nodes, for clients that keep their addresses.
func (d *Dataplane) meet(peers map[string]link.Peer) error {
	marks := link.Marks(peers)
	for _, s := range d.stacks {
		met := nft.Peers{Marks: marks}
		for name := range peers {
			for _, a := range internal(d.nodes[name]) {
				if a.Is6() == s.v6() {
					met.Addresses = append(met.Addresses, a)
				}
			}
		}
		if err := s.table.Meet(d.links.Overlay(), met); err != nil {
			s.built = false
			return err
		}
	}
	return nil
}

// placed reports whether this node's subnet of the first family is known.
func (d *Dataplane) placed() bool { return d.stacks[0].subnet.IsValid() }

// peer returns a node's place in the network, as far as it is of our families.
func (d *Dataplane) peer(n *corev1.Node) (p link.Peer) {
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for _, c := range cidrs {
		subnet, err := netip.ParsePrefix(c)
		for i, v6 := range []bool{false, true} {
			if err == nil && subnet.Addr().Is6() == v6 && slices.ContainsFunc(d.stacks, func(s *stack) bool { return s.v6() == v6 }) {
				p.Subnets[i] = subnet
			}
		}
	}
	for _, a := range internal(n) {
		if a.Is6() == d.cfg.NodeIPs[0].Is6() {
			p.Address = a
			break
		}
	}
	return p
}

// moved takes in this node's zone, and says whether it is another.
func (d *Dataplane) moved() bool {
	zone := ""
	if n := d.nodes[d.cfg.Node]; n != nil {
		zone = n.Labels[corev1.LabelTopologyZone]
	}
	was := d.zoneName
	d.zoneName = zone
	return zone != was
}

func (d *Dataplane) setSubnets(subnets [2]netip.Prefix) error {
	changed := false
	for _, s := range d.stacks {
		subnet := subnets[0]
		if s.v6() {
			subnet = subnets[1]
		}
		if !subnet.IsValid() || subnet == s.subnet {
			continue
		}
		if err := d.links.Subnet(subnet, s.Services, d.cfg.NodeIPs[0]); err != nil {
			return err
		}
		s.subnet, s.built, changed = subnet, false, true
	}
	if !changed || !d.placed() {
		return nil
	}
	if err := d.writeConf(); err != nil {
		return err
	}
	d.extrasPending = true
	d.podsMu.Lock()
	d.ready = true
	d.wakeLocked()
	d.podsMu.Unlock()
	return nil
}

// internal returns a node's own addresses.
func internal(n *corev1.Node) (out []netip.Addr) {
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			out = append(out, ip)
		}
	}
	return out
}

func (d *Dataplane) isNode(a netip.Addr) bool { return d.addrs[a] }

func (d *Dataplane) applyService(key types.NamespacedName) {
	svc, owner := d.services[key], "service/"+key.String()
	if svc == nil {
		for _, s := range d.stacks {
			s.pools.Set(owner, nil)
		}
		d.health.Set(key, 0, 0)
		d.proxy.SetService(object.Key(key), nil, nil)
		d.noteExtra(key, nil)
		d.zone.Delete(key.Namespace, key.Name)
		return
	}
	endpoints := make([]*discoveryv1.EndpointSlice, 0, len(d.slices[key]))
	for _, s := range d.slices[key] {
		endpoints = append(endpoints, s)
	}
	view := balance.View{Node: d.cfg.Node, Zone: d.zoneName, IsNode: d.isNode}
	floated := d.withFloats(svc)
	for _, s := range d.stacks {
		view.Family = s.family()
		s.pools.Set(owner, view.Service(floated, endpoints))
	}
	port, local := view.Checked(svc, endpoints)
	d.health.Set(key, port, local)
	d.proxy.SetService(object.Key(key), svc, endpoints)
	d.noteExtra(key, family.ClusterIPs(svc))
	d.zone.Set(svc, endpoints)
}

// noteExtra remembers cluster IPs of other ranges than the cluster's own: ServiceCIDRs'.
func (d *Dataplane) noteExtra(key types.NamespacedName, clusterIPs []string) {
	var extra []netip.Addr
	for _, text := range clusterIPs {
		ip, err := netip.ParseAddr(text)
		for _, n := range d.cfg.Networks {
			if err == nil && ip.Is6() == n.v6() && !n.Services.Contains(ip) {
				extra = append(extra, ip)
			}
		}
	}
	if slices.Equal(d.extras[key], extra) {
		return
	}
	d.extrasPending = true
	if delete(d.extras, key); len(extra) > 0 {
		d.extras[key] = extra
	}
}

// applyExtras gives such addresses routes: no one route covers them.
func (d *Dataplane) applyExtras() error {
	if !d.extrasPending || !d.placed() {
		return nil
	}
	want := map[netip.Addr]bool{}
	for _, all := range d.extras {
		for _, ip := range all {
			want[ip] = true
		}
	}
	err := d.links.Extras(want)
	d.extrasPending = err != nil
	return err
}

// applyPod takes a pod of this node into what NAT and policies need to know of it.
func (d *Dataplane) applyPod(key types.NamespacedName) {
	d.podsMu.Lock()
	pod := d.pods[key]
	d.podsMu.Unlock()
	owner := "pod/" + key.String()
	ours := pod != nil && pod.Spec.NodeName == d.cfg.Node && !pod.Spec.HostNetwork &&
		pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
	for _, s := range d.stacks {
		var ports []balance.Pool
		var address netip.Addr
		if ours {
			address = s.of(pod)
			ports = balance.HostPorts(pod, address)
		}
		d.viewPod(s, key, pod, address)
		s.policy.SetPod(key, pod, address)
		s.pools.SetLocal(owner, address)
		s.pools.Set(owner, ports)
	}
}

// viewPod tells DNS as whom a pod asks, by its address of a family. Where that is another
// pod's by now, it stays so.
func (d *Dataplane) viewPod(s *stack, key types.NamespacedName, pod *corev1.Pod, address netip.Addr) {
	var v *dns.View
	if address.IsValid() {
		v = view(pod)
	}
	if was, ok := s.asking[key]; ok && (v == nil || was != address) {
		d.zone.DeleteView(was, key.Namespace, key.Name)
		delete(s.asking, key)
	}
	if v != nil {
		d.zone.SetView(address, v)
		s.asking[key] = address
	}
}

// of returns a pod's address of the family; invalid: it has none.
func (n Network) of(pod *corev1.Pod) netip.Addr {
	for _, a := range podAddresses(pod) {
		if a.Is6() == n.v6() {
			return a
		}
	}
	return netip.Addr{}
}

// podAddresses returns a pod's addresses, one a family.
func podAddresses(pod *corev1.Pod) (out []netip.Addr) {
	for _, ip := range pod.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a)
		}
	}
	if a, err := netip.ParseAddr(pod.Status.PodIP); err == nil && len(out) == 0 {
		out = append(out, a)
	}
	return out
}

// knows reports whether a pod, by "namespace/name", or a network's way out is one of ours.
func (d *Dataplane) knows(name string) bool {
	if strings.HasPrefix(name, link.OfSpaces) {
		return d.tenants.leads(name)
	}
	namespace, name, _ := strings.Cut(name, "/")
	d.podsMu.Lock()
	defer d.podsMu.Unlock()
	return d.pods[types.NamespacedName{Namespace: namespace, Name: name}] != nil
}

// writeTables writes what differs in each family.
func (d *Dataplane) writeTables() error {
	var errs []error
	for _, s := range d.stacks {
		errs = append(errs, d.writeTable(s))
	}
	return errors.Join(errs...)
}

// writeTable writes what differs; the whole table at first, after a change of
// the subnet, and when somebody else has taken the table away.
func (d *Dataplane) writeTable(s *stack) error {
	changes, policies := s.pools.Take(), s.policy.Take()
	if s.built && changes.Empty() && policies.Empty() {
		return nil
	}
	var err error
	if s.built {
		if err = s.table.Apply(changes, policies); err != nil {
			d.cfg.Log.Warn("network rules are not as they were left; writing them all", "err", err)
			s.built = false
		}
	}
	if !s.built {
		base := nft.Base{
			PodCIDR: s.Pods, ServiceCIDR: s.Services, DNS: s.DNS, Outs: outsOf(s.v6()),
			Gateway: d.links.Gateway(s.DNS), Overlay: d.links.Overlay(), PodLinks: link.PodLinks,
			Foreign: d.byPlugins(),
		}
		if d.seal.on {
			base.Tunnel = d.links.Tunnel()
		}
		if err = s.table.Rebuild(base, s.pools.All(), s.policy.All()); err != nil {
			return err
		}
		s.built = true
	}
	return d.forget(s.v6(), changes)
}

// forget drops UDP conversations that follow an earlier decision: a client that
// keeps its port would never be decided anew. TCP ends by itself.
func (d *Dataplane) forget(v6 bool, c *balance.Changes) error {
	if len(c.GoneUDP) == 0 && len(c.NewUDP) == 0 && len(c.Floats) == 0 {
		return nil
	}
	floats := map[netip.Addr]bool{}
	for a := range c.Floats {
		floats[a] = true
	}
	gone, fresh := map[netip.AddrPort]bool{}, map[netip.AddrPort]bool{}
	for _, b := range c.GoneUDP {
		gone[b] = true
	}
	for _, f := range c.NewUDP {
		fresh[netip.AddrPortFrom(f.Addr, f.Port)] = true
	}
	return d.links.Forget(v6, func(f link.Flow) bool {
		if floats[f.To.Addr()] || f.To != f.Answer && gone[f.Answer] {
			return true
		}
		return f.To == f.Answer && (fresh[f.To] || fresh[netip.AddrPortFrom(netip.Addr{}, f.To.Port())])
	})
}
