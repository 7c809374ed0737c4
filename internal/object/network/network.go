package network

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"trireme/internal/object"
)

// Networks are served as this resource.
var (
	Group    = schema.GroupVersion{Group: "trireme.dev", Version: "v1"}
	Resource = Group.WithResource("networks")
)

// What sessions call the Networks and the rows of members that they carry.
const (
	Table        = "networks"
	MembersTable = "networkmembers"
)

// Finalizer keeps a network while pods are on it.
const Finalizer = "trireme.dev/network"

// Ready is the condition of a network that pods can be on.
const Ready = "Ready"

// The identifiers of networks on the wire: 16,384 from VNIMin.
const (
	VNIMin = 8192
	VNIMax = VNIMin + 1<<14 - 1
)

// Network is a tenant's network.
type Network struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              Spec   `json:"spec"`
	Status            Status `json:"status,omitzero"`
}

// Spec says what a network is.
type Spec struct {
	Subnets []Subnet `json:"subnets"`
	// Internal networks have no way out.
	Internal bool `json:"internal,omitempty"`
	// MTU of the pods' interfaces; 0: what fits.
	MTU int32 `json:"mtu,omitempty"`
}

// Subnet is a range of addresses of a network.
type Subnet struct {
	CIDR string `json:"cidr"`
	// Gateway is an address that no pod gets; empty: the first one.
	Gateway string `json:"gateway,omitempty"`
	// IPRange is the part of the subnet that addresses are given from; empty: all of it.
	IPRange string `json:"ipRange,omitempty"`
}

// Status says what is.
type Status struct {
	VNI        int32              `json:"vni,omitempty"`
	Pods       int32              `json:"pods,omitempty"` // on the network
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Marshal returns the object's JSON, as sessions carry it (package wire).
func (n *Network) Marshal() ([]byte, error) { return json.Marshal(n) }

// Unmarshal is the inverse of Marshal.
func (n *Network) Unmarshal(b []byte) error { return json.Unmarshal(b, n) }

// DeepCopyObject returns a copy that shares nothing.
func (n *Network) DeepCopyObject() runtime.Object { return n.DeepCopy() }

// DeepCopy returns a copy that shares nothing.
func (n *Network) DeepCopy() *Network {
	next := *n
	n.ObjectMeta.DeepCopyInto(&next.ObjectMeta)
	next.Spec.Subnets = slices.Clone(n.Spec.Subnets)
	next.Status.Conditions = nil
	for _, c := range n.Status.Conditions {
		next.Status.Conditions = append(next.Status.Conditions, *c.DeepCopy())
	}
	return &next
}

// Unstructured returns the object as tables.CustomObjects holds it.
func (n *Network) Unstructured() (*unstructured.Unstructured, error) {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(n)
	if err != nil {
		return nil, fmt.Errorf("encoding network %s: %w", object.KeyOf(n), err)
	}
	u := &unstructured.Unstructured{Object: raw}
	u.SetGroupVersionKind(Group.WithKind("Network"))
	return u, nil
}

// ID returns the namespace of a network's rows of members. A namespace has no dot.
func ID(key object.Key) string { return key.Namespace + "." + key.Name }

// Pool is a subnet as it can be given out.
type Pool struct {
	Prefix  netip.Prefix
	Gateway netip.Addr
	Range   netip.Prefix // within Prefix
}

// Pools returns the network's subnets; an error names the field and the remedy.
func (n *Network) Pools() ([]Pool, error) {
	var all []Pool
	for i, s := range n.Spec.Subnets {
		field := fmt.Sprintf("spec.subnets[%d]", i)
		p, err := s.pool(field)
		if err != nil {
			return nil, err
		}
		for j, other := range all {
			if other.Prefix.Addr().Is4() == p.Prefix.Addr().Is4() {
				return nil, fmt.Errorf("%s.cidr: %s is of the same family as spec.subnets[%d], %s: a network has one subnet of IPv4, one of IPv6, or one of each", field, p.Prefix, j, other.Prefix)
			}
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("spec.subnets: at least one is needed, as {cidr: 10.0.9.0/24} or {cidr: fd00:9::/64}")
	}
	return all, nil
}

func (s Subnet) pool(field string) (Pool, error) {
	prefix, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		return Pool{}, fmt.Errorf("%s.cidr: %q is no network: write it as 10.0.9.0/24 or fd00:9::/64", field, s.CIDR)
	}
	prefix = prefix.Masked()
	least, most := 8, 30
	if prefix.Addr().Is6() {
		least, most = 32, 126
	}
	switch a := prefix.Addr(); {
	case a.Is4In6():
		return Pool{}, fmt.Errorf("%s.cidr: %s is IPv4 within IPv6: write it as IPv4", field, prefix)
	case a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast():
		return Pool{}, fmt.Errorf("%s.cidr: %s is not routed: choose private addresses, as 10.0.9.0/24 or fd00:9::/64", field, prefix)
	case prefix.Bits() < least || prefix.Bits() > most:
		return Pool{}, fmt.Errorf("%s.cidr: %s must have between %d and %d bits", field, prefix, least, most)
	}
	p := Pool{Prefix: prefix, Gateway: prefix.Addr().Next(), Range: prefix}
	if s.Gateway != "" {
		if p.Gateway, err = netip.ParseAddr(s.Gateway); err != nil || !prefix.Contains(p.Gateway) || p.Gateway == prefix.Addr() {
			return Pool{}, fmt.Errorf("%s.gateway: %q is no address of %s that a host can have", field, s.Gateway, prefix)
		}
	}
	if s.IPRange != "" {
		if p.Range, err = netip.ParsePrefix(s.IPRange); err != nil || p.Range.Bits() < prefix.Bits() || !prefix.Contains(p.Range.Addr()) {
			return Pool{}, fmt.Errorf("%s.ipRange: %q is no part of %s", field, s.IPRange, prefix)
		}
		p.Range = p.Range.Masked()
	}
	return p, nil
}

// Usable reports whether a pod may have the address. The first names the subnet, and
// the last is for broadcasts in IPv4.
func (p Pool) Usable(a netip.Addr) bool {
	return p.Prefix.Contains(a) && a != p.Prefix.Addr() && a != p.Gateway && (a.Is6() || p.Prefix.Contains(a.Next()))
}

//go:embed network.yaml
var definition []byte

// Definition returns the definition of the kind.
func Definition() (*apiextensionsv1.CustomResourceDefinition, error) {
	d := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(definition, d); err != nil {
		return nil, fmt.Errorf("reading the definition of networks: %w", err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
	return d, nil
}
