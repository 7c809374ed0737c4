package network

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"trireme/internal/object"
)

// FrontsAnnotation of a core Service says on which networks it is known, by which names,
// and whether it has an address of its own there: a list of JSON objects (Wish).
const FrontsAnnotation = "trireme.dev/networks"

// Wish is what a core Service wants to be on a network.
type Wish struct {
	// Network is NAME, or NAMESPACE/NAME.
	Network string   `json:"network"`
	Names   []string `json:"names,omitempty"` // beside the service's own
	// Virtual services have an address, which leads to any of their pods on the network.
	Virtual bool `json:"virtual,omitempty"`
}

// Wishes returns what the service wants to be, by network. An error names the
// annotation and the remedy.
func Wishes(svc *corev1.Service) (map[object.Key]Wish, error) {
	text := svc.Annotations[FrontsAnnotation]
	if text == "" {
		return nil, nil
	}
	var all []Wish
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf(`annotation %s: no list of JSON objects as [{"network": "red", "virtual": true}]: %w`, FrontsAnnotation, err)
	}
	out := map[object.Key]Wish{}
	for _, w := range all {
		key := object.Key{Namespace: svc.Namespace, Name: w.Network}
		if ns, name, ok := strings.Cut(w.Network, "/"); ok {
			key = object.Key{Namespace: ns, Name: name}
		}
		if _, twice := out[key]; twice || key.Name == "" {
			return nil, fmt.Errorf("annotation %s: network %q: each is named, and once", FrontsAnnotation, w.Network)
		}
		names := []string{svc.Name}
		for _, n := range w.Names {
			if names = append(names, strings.ToLower(n)); n == "" || len(n) > validation.DNS1123LabelMaxLength || strings.ContainsAny(n, ". ") {
				return nil, fmt.Errorf("annotation %s: network %q: %q is no name: it has 1 to 63 characters and no dot", FrontsAnnotation, w.Network, n)
			}
		}
		slices.Sort(names)
		w.Names = slices.Compact(names)
		out[key] = w
	}
	return out, nil
}

// MarshalWishes returns the annotation's text.
func MarshalWishes(all []Wish) string {
	b, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings and booleans alone
	}
	return string(b)
}

// Front is a core Service as it is known on a network. It is carried as a row of
// networkmembers, under a name that no node has.
type Front struct {
	Service   object.Key
	Names     []string     // lower case, sorted, the service's own among them
	Addresses []netip.Addr // one a subnet; none: its names lead to its pods
}

const frontPrefix = "_"

// Row returns the front as a row of the network's.
func (f Front) Row(network object.Key) *discoveryv1.EndpointSlice {
	row := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ID(network), Name: FrontName(f.Service), Annotations: map[string]string{NamesAnnotation: strings.Join(f.Names, ",")}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	if len(f.Addresses) > 0 {
		e := discoveryv1.Endpoint{}
		for _, a := range f.Addresses {
			e.Addresses = append(e.Addresses, a.String())
		}
		row.Endpoints = []discoveryv1.Endpoint{e}
	}
	return row
}

// FrontName returns the name of the row of a service's front.
func FrontName(service object.Key) string { return frontPrefix + ID(service) }

// FrontOf returns the front that a row of networkmembers is; false: it is a node's pods.
func FrontOf(row *discoveryv1.EndpointSlice) (f Front, ok bool) {
	id, ok := strings.CutPrefix(row.Name, frontPrefix)
	if !ok {
		return Front{}, false
	}
	f.Service = OfID(id)
	f.Names = strings.Split(row.Annotations[NamesAnnotation], ",")
	for _, e := range row.Endpoints {
		for _, text := range e.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				f.Addresses = append(f.Addresses, a)
			}
		}
	}
	return f, true
}

// OfID is the inverse of ID.
func OfID(id string) object.Key {
	ns, name, _ := strings.Cut(id, ".")
	return object.Key{Namespace: ns, Name: name}
}
