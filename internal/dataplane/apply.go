package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/balance"
	"trireme/internal/dataplane/link"
	"trireme/internal/dataplane/nft"
	"trireme/internal/kind"
)

// Change is an object as it is now, or its deletion. Object is a *corev1.Service,
// *discoveryv1.EndpointSlice, *corev1.Node or *corev1.Pod, and is not changed.
type Change struct {
	Object  metav1.Object
	Deleted bool
}

// dirty is what one Apply has to look at.
type dirty struct {
	services map[types.NamespacedName]bool
	pods     map[types.NamespacedName]bool
	nodes    bool
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
	for key := range w.pods {
		d.applyPod(key)
	}
	errs = append(errs, d.writeTable())
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
		d.wakeLocked()
		d.podsMu.Unlock()
		w.pods[key] = true
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

// applyNodes sets this node's subnet and the way to the others.
func (d *Dataplane) applyNodes(w *dirty) error {
	peers := map[string]link.Peer{}
	for name, n := range d.nodes {
		subnet, err := netip.ParsePrefix(n.Spec.PodCIDR)
		if err != nil {
			continue // not allocated yet
		}
		if name == d.cfg.Node {
			if err := d.setSubnet(subnet); err != nil {
				return err
			}
		} else if a, ok := internal(n); ok {
			peers[name] = link.Peer{Address: a, Subnet: subnet}
		}
	}
	d.peers = peers
	for key, svc := range d.services { // a load balancer's address may have become a node's
		if len(svc.Status.LoadBalancer.Ingress) > 0 {
			w.services[key] = true
		}
	}
	if !d.subnet.IsValid() {
		return nil // the overlay's size and our source come from the subnet
	}
	return d.links.Peers(d.cfg.Node, d.cfg.NodeIP, peers)
}

func (d *Dataplane) setSubnet(subnet netip.Prefix) error {
	if subnet == d.subnet {
		return nil
	}
	if err := d.links.Subnet(subnet, d.cfg.ServiceCIDR, d.cfg.NodeIP); err != nil {
		return err
	}
	if err := d.writeConf(); err != nil {
		return err
	}
	d.subnet, d.built = subnet, false
	d.podsMu.Lock()
	d.ready = true
	d.wakeLocked()
	d.podsMu.Unlock()
	return nil
}

// internal returns a node's own IPv4 address.
func internal(n *corev1.Node) (netip.Addr, bool) {
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && ip.Is4() && a.Type == corev1.NodeInternalIP {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

func (d *Dataplane) isNode(a netip.Addr) bool {
	if a == d.cfg.NodeIP {
		return true
	}
	for _, p := range d.peers {
		if p.Address == a {
			return true
		}
	}
	return false
}

func (d *Dataplane) applyService(key types.NamespacedName) {
	svc, owner := d.services[key], "service/"+key.String()
	if svc == nil {
		d.pools.Set(owner, nil)
		d.zone.Delete(key.Namespace, key.Name)
		return
	}
	endpoints := make([]*discoveryv1.EndpointSlice, 0, len(d.slices[key]))
	for _, s := range d.slices[key] {
		endpoints = append(endpoints, s)
	}
	view := balance.View{Node: d.cfg.Node, IsNode: d.isNode}
	d.pools.Set(owner, view.Service(svc, endpoints))
	d.zone.Set(svc, endpoints)
}

// applyPod takes a pod of this node into what NAT needs to know of it.
func (d *Dataplane) applyPod(key types.NamespacedName) {
	d.podsMu.Lock()
	pod := d.pods[key]
	d.podsMu.Unlock()
	owner := "pod/" + key.String()
	var ports []balance.Pool
	var address netip.Addr
	if pod != nil && pod.Spec.NodeName == d.cfg.Node && !pod.Spec.HostNetwork &&
		pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		address, _ = netip.ParseAddr(pod.Status.PodIP)
		ports = balance.HostPorts(pod)
	}
	d.pools.SetLocal(owner, address)
	d.pools.Set(owner, ports)
}

// knows reports whether a pod, by "namespace/name", is one of ours.
func (d *Dataplane) knows(name string) bool {
	namespace, name, _ := strings.Cut(name, "/")
	d.podsMu.Lock()
	defer d.podsMu.Unlock()
	return d.pods[types.NamespacedName{Namespace: namespace, Name: name}] != nil
}

// writeTable writes what differs; the whole table at first, after a change of
// the subnet, and when somebody else has taken the table away.
func (d *Dataplane) writeTable() error {
	changes := d.pools.Take()
	if d.built && changes.Empty() {
		return nil
	}
	var err error
	if d.built {
		if err = d.table.Apply(changes); err != nil {
			d.cfg.Log.Warn("network rules are not as they were left; writing them all", "err", err)
			d.built = false
		}
	}
	if !d.built {
		base := nft.Base{
			PodCIDR: d.cfg.PodCIDR, ServiceCIDR: d.cfg.ServiceCIDR, DNS: d.cfg.DNS,
			Gateway: d.links.Gateway(), Overlay: d.links.Overlay(),
		}
		if err = d.table.Rebuild(base, d.pools.All()); err != nil {
			return err
		}
		d.built = true
	}
	return d.forget(changes)
}

// forget drops UDP conversations that follow an earlier decision: a client that
// keeps its port would never be decided anew. TCP ends by itself.
func (d *Dataplane) forget(c *balance.Changes) error {
	if len(c.GoneUDP) == 0 && len(c.NewUDP) == 0 {
		return nil
	}
	gone, fresh := map[netip.AddrPort]bool{}, map[netip.AddrPort]bool{}
	for _, b := range c.GoneUDP {
		gone[b] = true
	}
	for _, f := range c.NewUDP {
		fresh[netip.AddrPortFrom(f.Addr, f.Port)] = true
	}
	return d.links.Forget(func(f link.Flow) bool {
		if f.To != f.Answer && gone[f.Answer] {
			return true
		}
		return f.To == f.Answer && (fresh[f.To] || fresh[netip.AddrPortFrom(netip.Addr{}, f.To.Port())])
	})
}
