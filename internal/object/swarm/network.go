package swarm

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"k8s.io/utils/ptr"

	"trireme/internal/object"
	"trireme/internal/object/network"
)

// The networks that every cluster has, by docker's names. Nothing of them is an object:
// their ids are fixed.
const (
	IngressNetwork = "ingress"
	BridgeNetwork  = "bridge" // the cluster's own
	HostNetwork    = "host"
	NoNetwork      = "none"
)

// Predefined returns the name of the network that every cluster has under the name or id;
// empty: it is no such network.
func Predefined(target string) string {
	for _, name := range []string{IngressNetwork, BridgeNetwork, HostNetwork, NoNetwork} {
		if target == name || target == PredefinedID(name) {
			return name
		}
	}
	return ""
}

// PredefinedID returns the id of a network that every cluster has.
func PredefinedID(name string) string {
	id := "trireme0network0" + name
	return id + strings.Repeat("0", max(idDigits-len(id), 0))
}

// NetworkAnnotation of a Network holds what docker's clients said of it and our kind has
// no word for: a Network as JSON.
const NetworkAnnotation = "swarm.trireme.dev/network"

// Network is what docker's clients know of a network beside what it is.
type Network struct {
	Name       string            `json:"name"`
	Driver     string            `json:"driver,omitempty"`
	Attachable bool              `json:"attachable,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Options    map[string]string `json:"options,omitempty"`
}

// OverlayDriver is the driver of networks over all nodes, as all are here.
const OverlayDriver = "overlay"

// NetworkOf returns what docker's clients know of a network. One that others made is known
// by its name, with its namespace before it where that is not the default one.
func NetworkOf(n *network.Network) Network {
	var is Network
	if err := json.Unmarshal([]byte(n.Annotations[NetworkAnnotation]), &is); err != nil || is.Name == "" {
		is = Network{Name: n.Name, Driver: OverlayDriver, Attachable: true}
		if Place("", nil).Namespace != n.Namespace {
			is.Name = n.Namespace + "_" + n.Name
		}
	}
	return is
}

// Annotation returns the text of NetworkAnnotation.
func (n Network) Annotation() string {
	b, err := json.Marshal(n)
	if err != nil {
		panic(err) // strings and booleans alone
	}
	return string(b)
}

// Fronts returns what the service is on its networks, as package network has it; find
// returns the network of a name or id. None: it is on the cluster's own.
func (s *Service) Fronts(find func(target string) (object.Key, bool)) (all []network.Wish, err error) {
	for i, n := range s.Spec.TaskTemplate.Networks {
		if Predefined(n.Target) != "" {
			continue
		}
		key, ok := find(n.Target)
		if !ok {
			return nil, fmt.Errorf("Networks[%d].Target: network %s not found", i, n.Target)
		}
		mode := ptr.Deref(s.Spec.EndpointSpec, swarm.EndpointSpec{}).Mode
		all = append(all, network.Wish{
			Network: key.String(), Names: append([]string{s.Spec.Name}, n.Aliases...), Virtual: mode != swarm.ResolutionModeDNSRR,
		})
	}
	return all, nil
}

// networks puts the task on its networks, and on them alone: what it publishes is reached
// all the same.
func (b *builder) networks() error {
	var on []attachment
	all := b.service.Spec.TaskTemplate.Networks
	for i, n := range all {
		field := fmt.Sprintf("Networks[%d]", i)
		if len(n.DriverOpts) > 0 {
			return fmt.Errorf("%s.DriverOpts: a task's place on a network has no options here: leave them away", field)
		}
		name := Predefined(n.Target)
		switch {
		case name == IngressNetwork:
			return fmt.Errorf("%s.Target: Service cannot be explicitly attached to the ingress network %q", field, n.Target)
		case name != "" && len(all) > 1:
			return fmt.Errorf("%s.Target: a task that is on %s is on no other network: name it alone", field, name)
		case name == HostNetwork:
			b.pod.Spec.HostNetwork = true
			return nil
		case name == NoNetwork:
			b.pod.Annotations = map[string]string{network.OnlyAnnotation: network.OnlyNone}
			return nil
		case name == BridgeNetwork:
			return nil
		}
		for j, alias := range n.Aliases {
			if alias == "" || len(alias) > 63 || strings.ContainsAny(alias, ". ") {
				return fmt.Errorf("%s.Aliases[%d]: %q is no name: it has 1 to 63 characters and no dot", field, j, alias)
			}
		}
		key := object.Key{Name: n.Target}
		if b.task.Network != nil {
			var ok bool
			if key, ok = b.task.Network(n.Target); !ok {
				return fmt.Errorf("%s.Target: network %s not found", field, n.Target)
			}
		}
		on = append(on, attachment{Name: key.Name, Namespace: key.Namespace})
	}
	if err := b.addresses(on); err != nil || len(on) == 0 {
		return err
	}
	text, err := json.Marshal(on)
	if err != nil {
		return err
	}
	b.pod.Annotations = map[string]string{network.Annotation: string(text), network.OnlyAnnotation: "true"}
	if ports := b.openPorts(); ports != "" {
		b.pod.Annotations[network.PortsAnnotation] = ports
	}
	return nil
}

// attachment is a network in the annotation of a pod.
type attachment struct {
	Name      string       `json:"name"`
	Namespace string       `json:"namespace,omitempty"`
	IPs       []netip.Addr `json:"ips,omitempty"`
}

// addresses gives the one task of a service the addresses that it asks for.
func (b *builder) addresses(on []attachment) error {
	labels := b.service.Spec.Labels
	for _, label := range sortedKeys(labels) {
		name, ok := strings.CutPrefix(label, AddressLabel)
		if !ok {
			continue
		}
		if n, replicated := b.service.Replicas(); !replicated || n > 1 {
			return fmt.Errorf("Labels[%s]: an address is one task's: have one replica, or leave it away", label)
		}
		var ips []netip.Addr
		for _, text := range split(labels[label]) {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return fmt.Errorf("Labels[%s]: %q is no address: write it as 10.0.9.5, or 10.0.9.5,fd00:9::5", label, text)
			}
			ips = append(ips, a)
		}
		if b.task.Network == nil {
			continue
		}
		key, _ := b.task.Network(name)
		i := slices.IndexFunc(on, func(a attachment) bool { return a.Name == key.Name && a.Namespace == key.Namespace })
		if i < 0 {
			return fmt.Errorf("Labels[%s]: the service is not on network %s", label, name)
		}
		on[i].IPs = ips
	}
	return nil
}

// openPorts are those that are published.
func (b *builder) openPorts() string {
	var all []string
	for _, p := range ptr.Deref(b.service.Spec.EndpointSpec, swarm.EndpointSpec{}).Ports {
		all = append(all, network.Port{Protocol: Protocol(p.Protocol), Number: uint16(p.TargetPort)}.String())
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}
