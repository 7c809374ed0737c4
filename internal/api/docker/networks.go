package docker

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/network"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	tenant "trireme/internal/object/network"
	ours "trireme/internal/object/swarm"
	"trireme/internal/store"
	"trireme/internal/tables"
)

var networkRoutes = map[string]handler{
	"GET /networks": listNetworks, "GET /networks/{id}": inspectNetwork, "POST /networks/create": createNetwork, "DELETE /networks/{id}": removeNetwork,
	"POST /networks/prune": pruneNetworks, "POST /networks/{id}/connect": connectNetwork, "POST /networks/{id}/disconnect": connectNetwork,
}

// The networks that every cluster has.
var predefinedNetworks = []network.Network{
	predefined(ours.IngressNetwork, ours.OverlayDriver, scopeSwarm), predefined(ours.BridgeNetwork, "bridge", scopeLocal),
	predefined(ours.HostNetwork, "host", scopeLocal), predefined(ours.NoNetwork, "null", scopeLocal),
}

// ingressID is the id of the network of published ports.
var ingressID = ours.PredefinedID(ours.IngressNetwork)

const (
	scopeSwarm = "swarm"
	scopeLocal = "local"
	mtuOption  = "com.docker.network.driver.mtu"
)

func predefined(name, driver, scope string) network.Network {
	return network.Network{
		Name: name, ID: ours.PredefinedID(name), Driver: driver, Scope: scope, EnableIPv4: true, Ingress: name == ours.IngressNetwork,
		IPAM: network.IPAM{Driver: "default", Config: []network.IPAMConfig{}}, Options: map[string]string{}, Labels: map[string]string{},
	}
}

// network returns a Network as docker's clients know it.
func dockerNetwork(n *tenant.Network) network.Network {
	is := ours.NetworkOf(n)
	out := network.Network{
		Name: is.Name, ID: ours.ID(n.UID), Created: n.CreationTimestamp.UTC(), Scope: scopeSwarm, Driver: is.Driver, Internal: n.Spec.Internal,
		Attachable: is.Attachable, IPAM: network.IPAM{Driver: "default", Config: []network.IPAMConfig{}}, Options: is.Options, Labels: is.Labels,
	}
	if is.Driver != ours.OverlayDriver {
		out.Scope = scopeLocal
	}
	if out.Options == nil {
		out.Options = map[string]string{}
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	if n.Spec.MTU != 0 && out.Options[mtuOption] == "" {
		out.Options[mtuOption] = strconv.Itoa(int(n.Spec.MTU))
	}
	pools, err := n.Pools()
	if err != nil {
		return out // its condition says so
	}
	for _, p := range pools {
		c := network.IPAMConfig{Subnet: p.Prefix, Gateway: p.Gateway}
		if p.Range != p.Prefix {
			c.IPRange = p.Range
		}
		out.EnableIPv4, out.EnableIPv6 = out.EnableIPv4 || p.Prefix.Addr().Is4(), out.EnableIPv6 || p.Prefix.Addr().Is6()
		out.IPAM.Config = append(out.IPAM.Config, c)
	}
	return out
}

// networks returns the Networks that are there to be used: one that is on its way out is
// none.
func (c *call) networks() []*tenant.Network {
	return slices.DeleteFunc(slices.Collect(tables.Networks(c.snap)), func(n *tenant.Network) bool { return n.DeletionTimestamp != nil })
}

func (c *call) findNetwork(ref string) (*tenant.Network, error) {
	return find("network", ref, c.networks(), func(n *tenant.Network) (string, string) { return ours.ID(n.UID), ours.NetworkOf(n).Name })
}

func listNetworks(c *call) (any, error) {
	f, err := c.filters("dangling", "driver", "id", "label", "name", "scope", "type")
	if err != nil {
		return nil, err
	}
	fits := func(n network.Network, kind string, dangling func() bool) bool {
		return f.prefix("id", n.ID) && f.any("name", func(v string) bool { return strings.Contains(n.Name, v) }) && f.equal("driver", n.Driver) &&
			f.equal("scope", n.Scope) && f.labels("label", n.Labels) && f.equal("type", kind) &&
			f.any("dangling", func(v string) bool { return (v == "true" || v == "1") == dangling() })
	}
	out := []network.Summary{}
	for _, n := range predefinedNetworks {
		if fits(n, "builtin", func() bool { return false }) {
			out = append(out, network.Summary{Network: n})
		}
	}
	for _, n := range c.networks() {
		if d := dockerNetwork(n); fits(d, "custom", func() bool { return c.usedBy(n) == "" }) {
			out = append(out, network.Summary{Network: d})
		}
	}
	return out, nil
}

func inspectNetwork(c *call) (any, error) {
	ref, scope := c.PathValue("id"), c.FormValue("scope")
	for _, n := range predefinedNetworks {
		if (n.ID == ref || n.Name == ref) && (scope == "" || scope == n.Scope) {
			return network.Inspect{Network: n, Containers: map[string]network.EndpointResource{}}, nil
		}
	}
	n, err := c.findNetwork(ref)
	if err != nil {
		return nil, err
	}
	out := network.Inspect{Network: dockerNetwork(n), Containers: map[string]network.EndpointResource{}}
	if scope != "" && scope != out.Scope {
		return nil, kind.New(kind.NotFound, "network %s not found in scope %s: it is of scope %s", ref, scope, out.Scope)
	}
	c.showMembers(n, &out)
	if c.flag("verbose") {
		c.showServices(n, &out)
	}
	return out, nil
}

// members yields the pods on a network that are in the snapshot, with their addresses there.
// Who is on it is nothing that roles name: whoever sees the network and a pod sees that.
func (c *call) members(in *store.Snapshot, n *tenant.Network, yield func(p *corev1.Pod, addresses []netip.Addr)) {
	key := object.KeyOf(n)
	for row := range tables.NetworkMembers.Rows(c.all, tenant.ID(key)) {
		if _, service := tenant.FrontOf(row.Object()); service {
			continue
		}
		for _, e := range row.Object().Endpoints {
			p, ok := tables.Pods.Get(in, tenant.PodOf(key, e.TargetRef))
			if !ok || p.UID != e.TargetRef.UID {
				continue
			}
			var all []netip.Addr
			for _, text := range e.Addresses {
				if a, err := netip.ParseAddr(text); err == nil {
					all = append(all, a)
				}
			}
			yield(p, all)
		}
	}
}

// within returns an address with the length of the network's subnet that it is of.
func within(n *tenant.Network, a netip.Addr) netip.Prefix {
	pools, _ := n.Pools() // it gave the address
	for _, p := range pools {
		if p.Prefix.Contains(a) {
			return netip.PrefixFrom(a, p.Prefix.Bits())
		}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// showMembers adds the containers on a network and their nodes, of the whole cluster.
func (c *call) showMembers(n *tenant.Network, out *network.Inspect) {
	nodes := map[string]bool{}
	c.members(c.snap, n, func(p *corev1.Pod, addresses []netip.Addr) {
		id := ours.ID(p.UID)
		if len(p.Status.ContainerStatuses) > 0 {
			if _, runs, ok := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://"); ok {
				id = runs
			}
		}
		e := network.EndpointResource{Name: c.podName(p), EndpointID: ours.ID(p.UID)}
		for _, a := range addresses {
			if a.Is4() {
				e.IPv4Address = within(n, a)
			} else {
				e.IPv6Address = within(n, a)
			}
		}
		out.Containers[id] = e
		nodes[p.Spec.NodeName] = true
	})
	for node := range tables.Nodes.All(c.snap) {
		if a, err := netip.ParseAddr(address(node)); err == nil && nodes[node.Name] {
			out.Peers = append(out.Peers, network.PeerInfo{Name: node.Name, IP: a})
		}
	}
}

// podName returns what docker's clients call a pod: a task as such, others by their name.
func (c *call) podName(p *corev1.Pod) string {
	s, ok := tables.Swarm(c.snap, object.Key{Namespace: p.Namespace, Name: p.Labels[ours.ServiceLabel]})
	if !ok || !metav1.IsControlledBy(p, s) {
		return p.Name
	}
	return s.Spec.Name + "." + p.Labels[ours.SlotLabel] + "." + ours.ID(p.UID)
}

// showServices adds the services on a network with their tasks.
func (c *call) showServices(n *tenant.Network, out *network.Inspect) {
	out.Services = map[string]network.ServiceInfo{}
	tasks := map[object.Key][]network.Task{}
	c.members(c.snap, n, func(p *corev1.Pod, addresses []netip.Addr) {
		at := object.Key{Namespace: p.Namespace, Name: p.Labels[ours.ServiceLabel]}
		for _, a := range addresses {
			tasks[at] = append(tasks[at], network.Task{Name: c.podName(p), EndpointID: ours.ID(p.UID), EndpointIP: a, Info: map[string]string{"Host IP": p.Status.HostIP}})
		}
	})
	for f := range tables.NetworkFronts(c.all, object.KeyOf(n)) {
		s, ok := tables.Swarm(c.snap, f.Service)
		if !ok {
			continue
		}
		info := network.ServiceInfo{Ports: []string{}, Tasks: tasks[f.Service]}
		if len(f.Addresses) > 0 {
			info.VIP = f.Addresses[0]
		}
		if e := s.Spec.EndpointSpec; e != nil {
			for _, p := range e.Ports {
				info.Ports = append(info.Ports, "Target: "+strconv.Itoa(int(p.TargetPort))+", Publish: "+strconv.Itoa(int(p.PublishedPort)))
			}
		}
		out.Services[s.Spec.Name] = info
	}
}

// usedBy names who is on a network, empty: nobody. The tasks of a service that has gone
// are on their way out.
func (c *call) usedBy(n *tenant.Network) (by string) {
	id := ours.ID(n.UID)
	for s := range tables.Swarms(c.all, "") {
		if s.DeletionTimestamp != nil {
			continue
		}
		for _, on := range s.Spec.TaskTemplate.Networks {
			if on.Target == id || on.Target == ours.NetworkOf(n).Name {
				if !c.sees(tables.CustomObjects, tables.SwarmKey(object.KeyOf(s))) {
					return "somebody else's service"
				}
				return "service " + s.Spec.Name
			}
		}
	}
	c.members(c.all, n, func(p *corev1.Pod, _ []netip.Addr) {
		owner := metav1.GetControllerOf(p)
		if p.DeletionTimestamp == nil && !object.PodEnded(p) && (owner == nil || owner.APIVersion != ours.Group.String()) {
			if by = "somebody else's pod"; c.sees(tables.Pods, object.KeyOf(p)) {
				by = "pod " + p.Namespace + "/" + p.Name
			}
		}
	})
	return by
}

func removeNetwork(c *call) (any, error) {
	ref := c.PathValue("id")
	if name := ours.Predefined(ref); name != "" {
		return nil, kind.New(kind.Denied, "%s is a pre-defined network and cannot be removed", name)
	}
	n, err := c.findNetwork(ref)
	if err != nil {
		return nil, err
	}
	if by := c.usedBy(n); by != "" {
		return nil, kind.New(kind.Denied, "network %s is in use by %s: remove that first", ours.NetworkOf(n).Name, by)
	}
	if err := c.deleteNetwork(n); err != nil {
		return nil, err
	}
	return answer{http.StatusNoContent, nil}, nil
}

func (c *call) deleteNetwork(n *tenant.Network) error {
	err := c.custom().Resource(tenant.Resource).Namespace(n.Namespace).Delete(c.Context(), n.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &n.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fromKubernetes(err)
	}
	return nil
}

// pruneNetworks removes the networks that docker's clients made and nobody is on.
func pruneNetworks(c *call) (any, error) {
	f, err := c.filters("label", "label!", "until")
	if err != nil {
		return nil, err
	}
	until := time.Now()
	for _, text := range f["until"] {
		ago, err := time.ParseDuration(text)
		at, timed := time.Parse(time.RFC3339, text)
		switch {
		case err == nil:
			until = until.Add(-ago)
		case timed == nil:
			until = at
		default:
			return nil, kind.New(kind.Malformed, "invalid filter 'until=%s': it is a duration as 24h, or a time as 2006-01-02T15:04:05Z", text)
		}
	}
	out := network.PruneReport{NetworksDeleted: []string{}}
	for _, n := range c.networks() {
		is := ours.NetworkOf(n)
		_, docker := n.Annotations[ours.NetworkAnnotation]
		unwanted := len(f["label!"]) > 0 && f.labels("label!", is.Labels)
		if !docker || !f.labels("label", is.Labels) || unwanted || n.CreationTimestamp.After(until) || c.usedBy(n) != "" {
			continue
		}
		if err := c.deleteNetwork(n); err != nil {
			return nil, err
		}
		out.NetworksDeleted = append(out.NetworksDeleted, is.Name)
	}
	return out, nil
}

// connectNetwork refuses: what a pod is on is settled when it gets its node.
func connectNetwork(c *call) (any, error) {
	if _, err := c.findNetwork(c.PathValue("id")); err != nil && ours.Predefined(c.PathValue("id")) == "" {
		return nil, err
	}
	return nil, kind.New(kind.Unsupported, "the networks of a container are settled when it is made: make it again with --network; of a service change them with `docker service update --network-add` and `--network-rm`")
}

// gone waits until an object of a network that is on its way out has gone.
func (c *call) gone(key object.Key) error {
	ctx, cancel := context.WithTimeout(c.Context(), goneMax)
	defer cancel()
	at := tables.NetworkKey(key)
	for _, err := range c.door.store.Events(ctx, c.snap.TableRev(tables.CustomObjects), tables.CustomObjects) {
		if err != nil {
			break
		}
		if _, there := tables.CustomObjects.Row(c.door.store.Snapshot(), at); !there {
			return nil
		}
	}
	return kind.New(kind.Exists, "network %s is being removed: the last tasks on it have not ended yet, try again later", key)
}

// goneMax is how long a new network waits for an earlier one of its name to go: a task has
// ten seconds to end where nothing else is said.
const goneMax = 20 * time.Second
