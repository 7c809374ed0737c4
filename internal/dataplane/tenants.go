package dataplane

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/link"
	"trireme/internal/dataplane/plugin"
	"trireme/internal/object"
	"trireme/internal/object/network"
)

// Members is the pods of a tenant's network on one node (package network).
type Members struct{ *discoveryv1.EndpointSlice }

// tenants is the networks of this node's pods beside the cluster's own.
type tenants struct {
	networks map[object.Key]*network.Network
	members  map[string]map[string]*Members // by the network's ID, node

	mu     *sync.Mutex // of what CNI calls look at
	spaces map[object.Key]space
}

// space is a network that pods can be put on.
type space struct {
	*link.Space
	network *network.Network
	members *Members // on this node; nil: none
	subnets []netip.Prefix
}

func newTenants() tenants {
	return tenants{
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
		if len(t.members[o.Namespace]) == 0 {
			delete(t.members, o.Namespace)
		}
	}
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
	if !full && !w.tenants && (!w.nodes || len(t.networks) == 0) || !d.placed() {
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
		if err != nil {
			errs = append(errs, err)
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
	return errors.Join(append(errs, d.links.PruneSpaces(spacesDir(d.cfg.Root), keep))...)
}

func (d *Dataplane) applyTenant(key object.Key, n *network.Network) (s space, err error) {
	t := &d.tenants
	t.mu.Lock()
	s = t.spaces[key]
	t.mu.Unlock()
	if s.Space == nil || s.network.Status.VNI != n.Status.VNI || s.network.UID != n.UID {
		pools, err := n.Pools()
		if err != nil {
			return space{}, err
		}
		s = space{}
		for _, p := range pools {
			s.subnets = append(s.subnets, p.Prefix)
		}
		s.Space, err = d.links.OpenSpace(spacesDir(d.cfg.Root), link.SpaceConfig{
			VNI: int(n.Status.VNI), Subnets: s.subnets, MTU: int(n.Spec.MTU), Self: d.cfg.Node, Local: d.cfg.NodeIPs[0],
		})
		if err != nil {
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
	return s, s.Remotes(remotes)
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
// there and gave it addresses.
func (d *Dataplane) awaitTenants(ctx context.Context, r plugin.Request, name string) ([]attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, podWaitMax)
	defer cancel()
	ns, bare, _ := strings.Cut(name, "/")
	for {
		d.podsMu.Lock()
		pod, changed := d.settled[types.NamespacedName{Namespace: ns, Name: bare}], d.changed
		d.podsMu.Unlock()
		all, missing, err := d.attachments(pod, r)
		if err != nil {
			return nil, refused(plugin.CodeInvalidEnvironment, err.Error())
		}
		if missing == "" {
			return all, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, refused(plugin.CodeTryAgain, "pod "+name+" has no address on network "+missing+" yet: see the pod's events")
		}
	}
}

// attachments returns the links that a pod is to have, or a network that is missing.
func (d *Dataplane) attachments(pod *corev1.Pod, r plugin.Request) (all []attachment, missing string, err error) {
	if pod == nil {
		return nil, "", nil
	}
	asked, err := network.Selections(pod)
	if err != nil {
		return nil, "", err
	}
	d.tenants.mu.Lock()
	defer d.tenants.mu.Unlock()
	for _, sel := range asked {
		s := d.tenants.spaces[sel.Key]
		given := s.given(pod)
		if len(given) == 0 {
			return nil, sel.Key.String(), nil
		}
		all = append(all, attachment{s.Space, link.Pod{
			ID: r.ContainerID, Name: object.KeyOf(pod).String(), Addresses: given, NetNS: r.NetNS, IfName: sel.Interface, Routes: s.subnets,
		}})
	}
	return all, "", nil
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
