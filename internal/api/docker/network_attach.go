package docker

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	tenant "trireme/internal/object/network"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

// nameNetworks writes the ids of the networks into a spec that names them, as docker's own
// managers do, and where old clients had another place for them.
func (c *call) nameNetworks(raw map[string]any, s *ours.Service) error {
	if old, ok := raw["Networks"]; ok {
		if all, some := old.([]any); some && len(all) > 0 && len(s.Spec.TaskTemplate.Networks) == 0 {
			b, err := json.Marshal(old)
			if err == nil {
				err = json.Unmarshal(b, &s.Spec.TaskTemplate.Networks)
			}
			if err != nil {
				return kind.New(kind.Malformed, "invalid ServiceSpec: Networks: %v", err)
			}
		}
		delete(raw, "Networks")
	}
	all := s.Spec.TaskTemplate.Networks
	if len(all) == 0 {
		return nil
	}
	seen := map[string]bool{}
	for i := range all {
		n := &all[i]
		if name := ours.Predefined(n.Target); name != "" {
			n.Target = ours.PredefinedID(name)
		} else {
			found, err := c.findNetwork(n.Target)
			if err != nil {
				return err
			}
			n.Target = ours.ID(found.UID)
		}
		if seen[n.Target] {
			return kind.New(kind.Invalid, "TaskTemplate.Networks[%d].Target: network %s is there twice", i, n.Target)
		}
		seen[n.Target] = true
	}
	tree, err := ours.Tree(all)
	if err != nil {
		return err
	}
	if task, ok := raw["TaskTemplate"].(map[string]any); ok {
		task["Networks"] = tree
	}
	return nil
}

// openNetworks opens the networks of other namespaces that a service wants to be on to the
// namespace that it is in: its caller has to have the right to change them.
func (c *call) openNetworks(s *ours.Service, namespace string) error {
	for _, on := range s.Spec.TaskTemplate.Networks {
		if ours.Predefined(on.Target) != "" {
			continue
		}
		n, err := c.findNetwork(on.Target)
		if err != nil {
			return err
		}
		if err := c.openNetwork(n, namespace); err != nil {
			return err
		}
	}
	return nil
}

// openNetwork lets pods of the namespace be on a network.
func (c *call) openNetwork(n *tenant.Network, namespace string) error {
	if n.Open(namespace) {
		return nil
	}
	networks := c.custom().Resource(tenant.Resource).Namespace(n.Namespace)
	u, err := networks.Get(c.Context(), n.Name, metav1.GetOptions{})
	if err != nil {
		return fromKubernetes(err)
	}
	now := tenant.Network{ObjectMeta: metav1.ObjectMeta{Annotations: u.GetAnnotations()}}
	opened := append(now.Opened(), namespace)
	slices.Sort(opened)
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[tenant.NamespacesAnnotation] = strings.Join(slices.Compact(opened), ",")
	u.SetAnnotations(annotations)
	if _, err := networks.Update(c.Context(), u, metav1.UpdateOptions{FieldManager: "docker"}); err != nil {
		return fromKubernetes(err)
	}
	return nil
}

// virtualIPs returns the addresses that a service has on its networks.
func (c *call) virtualIPs(s *ours.Service) (all []swarm.EndpointVirtualIP) {
	for _, on := range s.Spec.TaskTemplate.Networks {
		if ours.Predefined(on.Target) != "" {
			continue
		}
		key, ok := tables.NetworkByID(c.snap, on.Target)
		row, known := tables.NetworkMembers.Get(c.all, object.Key{Namespace: tenant.ID(key), Name: tenant.FrontName(object.KeyOf(s))})
		n, read := tables.Network(c.snap, key)
		if !ok || !known || !read {
			continue // not yet
		}
		f, _ := tenant.FrontOf(row)
		for _, a := range f.Addresses {
			all = append(all, swarm.EndpointVirtualIP{NetworkID: ours.ID(n.UID), Addr: within(n, a)})
		}
	}
	return all
}

// attachments returns the networks that a task is on: those of users, or the cluster's own.
func (c *call) attachments(p *corev1.Pod) (all []swarm.NetworkAttachment) {
	var lines []tenant.Attachment
	if text := p.Annotations[tenant.StatusAnnotation]; text != "" {
		_ = json.Unmarshal([]byte(text), &lines) // what cannot be read names no network
	}
	for _, line := range lines {
		ns, name, _ := strings.Cut(line.Name, "/")
		n, ok := tables.Network(c.snap, object.Key{Namespace: ns, Name: name})
		if line.Default || !ok {
			continue
		}
		is := dockerNetwork(n)
		on := swarm.NetworkAttachment{Network: swarm.Network{ID: is.ID, Meta: meta(n), Spec: swarm.NetworkSpec{
			Annotations: swarm.Annotations{Name: is.Name, Labels: is.Labels}, DriverConfiguration: &swarm.Driver{Name: is.Driver}, Scope: is.Scope, Internal: is.Internal, Attachable: is.Attachable,
		}}}
		for _, text := range line.IPs {
			if a, err := netip.ParseAddr(text); err == nil {
				on.Addresses = append(on.Addresses, within(n, a))
			}
		}
		all = append(all, on)
	}
	if tenant.Only(p) {
		return all
	}
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			all = append(all, swarm.NetworkAttachment{
				Network: swarm.Network{ID: ingressID, Spec: swarm.NetworkSpec{Annotations: swarm.Annotations{Name: ours.IngressNetwork}}}, Addresses: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())},
			})
		}
	}
	return all
}
