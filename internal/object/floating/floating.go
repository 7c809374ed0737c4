package floating

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"trireme/internal/object"
)

// The kinds are served as these resources.
var (
	Group = schema.GroupVersion{Group: "trireme.dev", Version: "v1"}
	Pools = Group.WithResource("addresspools")
	IPs   = Group.WithResource("floatingips")
)

// Table is what sessions call the FloatingIPs that they carry.
const Table = "floatingips"

// PoolAnnotation of a Service of type LoadBalancer names the pool that its address
// comes from. The door writes the default pool into it; an empty value keeps the
// service on the nodes' own addresses.
const PoolAnnotation = "trireme.dev/address-pool"

// Class is the load balancer class that is served from pools alone.
const Class = "trireme.dev/floating-ip"

// Conditions of a FloatingIP.
const (
	Allocated = "Allocated" // it has an address
	Announced = "Announced" // a node answers for the address
)

// The kinds of targets.
const (
	Pod     = "Pod"
	Service = "Service"
)

// Pool is a set of addresses to give out, an AddressPool.
type Pool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              PoolSpec `json:"spec"`
}

// PoolSpec says which addresses a pool has.
type PoolSpec struct {
	// Addresses are networks ("192.0.2.0/28") and ranges ("192.0.2.5-192.0.2.9"), of
	// either family.
	Addresses []string `json:"addresses"`
	// Default pools serve who names none; the first by name does where several are.
	Default bool `json:"default,omitempty"`
}

// IP is an address of a pool, a FloatingIP.
type IP struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              IPSpec   `json:"spec"`
	Status            IPStatus `json:"status,omitzero"`
}

// IPSpec says what is wanted.
type IPSpec struct {
	Pool     string          `json:"pool,omitempty"`     // empty: the one that has Address, or the default one
	Address  string          `json:"address,omitempty"`  // empty: any
	IPFamily corev1.IPFamily `json:"ipFamily,omitempty"` // of the address; empty: any
	Target   *Target         `json:"target,omitempty"`   // nil: the address is kept, and leads nowhere
}

// Target is what an address leads to, in the FloatingIP's namespace.
type Target struct {
	Kind string `json:"kind"` // Pod or Service
	Name string `json:"name"`
}

// IPStatus says what is.
type IPStatus struct {
	Address    string             `json:"address,omitempty"`
	Node       string             `json:"node,omitempty"` // that answers for the address
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Marshal returns the object's JSON, as sessions carry it (package wire).
func (i *IP) Marshal() ([]byte, error) { return json.Marshal(i) }

// Unmarshal is the inverse of Marshal.
func (i *IP) Unmarshal(b []byte) error { return json.Unmarshal(b, i) }

// DeepCopyObject returns a copy that shares nothing.
func (i *IP) DeepCopyObject() runtime.Object {
	next := *i
	i.ObjectMeta.DeepCopyInto(&next.ObjectMeta)
	if i.Spec.Target != nil {
		t := *i.Spec.Target
		next.Spec.Target = &t
	}
	next.Status.Conditions = nil
	for _, c := range i.Status.Conditions {
		next.Status.Conditions = append(next.Status.Conditions, *c.DeepCopy())
	}
	return &next
}

// Held returns the address; the zero Addr where it has none.
func (i *IP) Held() netip.Addr {
	a, _ := netip.ParseAddr(i.Status.Address) // what is no address is none
	return a
}

// Leads reports whether the address leads to the target.
func (i *IP) Leads(kind, name string) bool {
	return i.Spec.Target != nil && *i.Spec.Target == Target{Kind: kind, Name: name}
}

// Unstructured returns the object as tables.CustomObjects holds it.
func (i *IP) Unstructured() (*unstructured.Unstructured, error) {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(i)
	if err != nil {
		return nil, fmt.Errorf("encoding floating IP %s: %w", object.KeyOf(i), err)
	}
	u := &unstructured.Unstructured{Object: raw}
	u.SetGroupVersionKind(Group.WithKind("FloatingIP"))
	return u, nil
}

// Wanted reports whether the service is to have an address of a pool, and of which:
// empty means any that has spec.loadBalancerIP, or the default one. Without it a
// LoadBalancer is the mesh: it answers on the nodes' own addresses.
func Wanted(s *corev1.Service) (pool string, ok bool) {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.DeletionTimestamp != nil {
		return "", false
	}
	pool = s.Annotations[PoolAnnotation]
	if c := s.Spec.LoadBalancerClass; c != nil {
		return pool, *c == Class
	}
	return pool, pool != "" || s.Spec.LoadBalancerIP != ""
}

// Meshed reports whether the service answers on the nodes' own addresses.
func Meshed(s *corev1.Service) bool {
	_, pooled := Wanted(s)
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil && !pooled
}

const servicePrefix = "lb-"

// suffixes of the names of services' addresses, by family. No service's name has a dot.
var suffixes = map[corev1.IPFamily]string{corev1.IPv4Protocol: "", corev1.IPv6Protocol: ".ipv6"}

// ForService returns the key of the FloatingIP of a family that a service owns.
func ForService(svc object.Key, f corev1.IPFamily) object.Key {
	return object.Key{Namespace: svc.Namespace, Name: servicePrefix + svc.Name + suffixes[f]}
}

// ServiceOf is the inverse of ForService; false where the name is no such.
func ServiceOf(ip object.Key) (object.Key, bool) {
	name, ok := strings.CutPrefix(ip.Name, servicePrefix)
	return object.Key{Namespace: ip.Namespace, Name: strings.TrimSuffix(name, suffixes[corev1.IPv6Protocol])}, ok
}

// OwnedBy reports whether the service owns the address.
func (i *IP) OwnedBy(s *corev1.Service) bool {
	for _, o := range i.OwnerReferences {
		if o.UID == s.UID && o.Kind == Service {
			return true
		}
	}
	return false
}

//go:embed floating.yaml
var definitions []byte

// Definitions returns the definitions of the kinds.
func Definitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, part := range strings.Split(string(definitions), "\n---\n") {
		d := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict([]byte(part), d); err != nil {
			return nil, fmt.Errorf("reading the definitions of address pools: %w", err)
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
		all = append(all, d)
	}
	return all, nil
}
