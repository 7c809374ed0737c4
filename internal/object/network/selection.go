package network

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/family"
)

// The annotations of a pod, of the de-facto standard.
const (
	Annotation       = "k8s.v1.cni.cncf.io/networks"
	StatusAnnotation = "k8s.v1.cni.cncf.io/network-status"
)

// OnlyAnnotation of a pod is "true" where it is on the networks that it names and not on
// the cluster's own: what is left of that are probes of its node and DNS. "none" is true of
// a pod that names none.
const OnlyAnnotation = "trireme.dev/networks-only"

// OnlyNone is the annotation of a pod that is on no network.
const OnlyNone = "none"

// Selection is one network that a pod wants to be on.
type Selection struct {
	Key       object.Key // of the network
	Interface string     // in the pod
	IPs       []netip.Addr
	Gateways  []netip.Addr // of its way out, "default-route"; none: it is elsewhere
}

// element is a selection in the annotation's JSON form.
type element struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace"`
	Interface string   `json:"interface"`
	IPs       []string `json:"ips"`
	Gateways  []string `json:"default-route"`
}

// linkName is what the kernel takes as a link's name, without surprises.
var linkName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$`)

// Selections returns the networks that a pod asks for beside the default one, none
// for a pod in its node's network. Whether it may be on them is the networks' to say
// (Open). An error names the annotation and the remedy.
func Selections(p *corev1.Pod) ([]Selection, error) {
	text := strings.TrimSpace(p.Annotations[Annotation])
	switch only := p.Annotations[OnlyAnnotation]; {
	case p.Spec.HostNetwork:
		return nil, nil
	case only == OnlyNone && text != "":
		return nil, fmt.Errorf("annotation %s: the pod is on %s: it is true then, or the annotation %s goes", OnlyAnnotation, text, Annotation)
	case only != "" && only != "true" && only != "false" && only != OnlyNone:
		return nil, fmt.Errorf("annotation %s: %q is neither true nor false, nor none", OnlyAnnotation, only)
	case text == "" && only == "true":
		return nil, fmt.Errorf("annotation %s: the pod names no network: name one in the annotation %s", OnlyAnnotation, Annotation)
	case text == "":
		return nil, nil
	}
	if _, err := OpenPorts(p); err != nil {
		return nil, err
	}
	elements, err := read(text)
	if err != nil {
		return nil, fmt.Errorf("annotation %s: %w", Annotation, err)
	}
	var all []Selection
	networks, interfaces := map[object.Key]bool{}, map[string]bool{"lo": true, "eth0": true}
	for i, e := range elements {
		s, err := e.selection(p.Namespace, fmt.Sprintf("net%d", i+1))
		switch {
		case err != nil:
		case networks[s.Key]:
			err = fmt.Errorf("network %s is named twice: a pod is on a network once", s.Key)
		case interfaces[s.Interface]:
			err = fmt.Errorf("interface %s is taken: choose another name", s.Interface)
		}
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", Annotation, err)
		}
		networks[s.Key], interfaces[s.Interface] = true, true
		all = append(all, s)
	}
	return all, nil
}

func read(text string) (all []element, err error) {
	if strings.HasPrefix(text, "[") {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			return nil, fmt.Errorf("no list of JSON objects: %w", err)
		}
		return all, nil
	}
	for _, part := range strings.Split(text, ",") {
		e := element{Name: strings.TrimSpace(part)}
		if ns, name, ok := strings.Cut(e.Name, "/"); ok {
			e.Namespace, e.Name = ns, name
		}
		if name, iface, ok := strings.Cut(e.Name, "@"); ok {
			e.Name, e.Interface = name, iface
		}
		all = append(all, e)
	}
	return all, nil
}

func (e element) selection(namespace, iface string) (Selection, error) {
	s := Selection{Key: object.Key{Namespace: e.Namespace, Name: e.Name}, Interface: e.Interface}
	if s.Key.Namespace == "" {
		s.Key.Namespace = namespace
	}
	if s.Interface == "" {
		s.Interface = iface
	}
	switch {
	case e.Name == "":
		return s, fmt.Errorf("a network without a name: write NAME, NAMESPACE/NAME or NAMESPACE/NAME@INTERFACE, with commas between them")
	case !linkName.MatchString(s.Interface):
		return s, fmt.Errorf("%q is no name for an interface: at most 15 letters, digits, '-', '_' and '.'", s.Interface)
	}
	for _, text := range e.IPs {
		bare, _, _ := strings.Cut(text, "/") // the standard allows a prefix length
		a, err := netip.ParseAddr(bare)
		if err != nil {
			return s, fmt.Errorf("network %s: %q is no address", s.Key, text)
		}
		s.IPs = append(s.IPs, a)
	}
	for _, text := range e.Gateways {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return s, fmt.Errorf("network %s: default-route: %q is no address", s.Key, text)
		}
		s.Gateways = append(s.Gateways, a)
	}
	return s, nil
}

// Only reports whether a pod is on the networks that it names alone.
func Only(p *corev1.Pod) bool {
	only := p.Annotations[OnlyAnnotation]
	return (only == "true" || only == OnlyNone) && !p.Spec.HostNetwork
}

// Outs returns by which of the networks the pod's way out is, by family, as a place in
// all; those that are missing are left by none of them. It is where the pod says so, and for a
// pod that is on these networks only the first one that has one. Find returns a network,
// nil where it is not known.
func Outs(p *corev1.Pod, all []Selection, find func(object.Key) *Network) map[corev1.IPFamily]int {
	out := map[corev1.IPFamily]int{}
	for i, s := range all {
		n := find(s.Key)
		if n == nil || n.Spec.Internal {
			continue
		}
		pools, err := n.Pools()
		if err != nil {
			continue // its condition says so
		}
		for _, pool := range pools {
			f := family.Of(pool.Prefix.Addr())
			if _, led := out[f]; slices.Contains(s.Gateways, pool.Gateway) || Only(p) && !led {
				out[f] = i
			}
		}
	}
	return out
}

// Attachment is a line of the annotation network-status.
type Attachment struct {
	Name      string   `json:"name"`
	Interface string   `json:"interface,omitempty"`
	IPs       []string `json:"ips,omitempty"`
	Default   bool     `json:"default,omitempty"`
}

// Attachments returns the text of the annotation network-status.
func Attachments(all []Attachment) string {
	b, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings and booleans alone
	}
	return string(b)
}

// Endpoint returns a pod's place in a network's rows, without its addresses. What it is
// called lies where an endpoint has its hostname.
func Endpoint(network, pod object.Key, uid types.UID, names []string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{TargetRef: RefOf(network, pod, uid)}
	if len(names) > 0 {
		text := strings.Join(names, ",")
		e.Hostname = &text
	}
	return e
}

// NamesOf returns what the pod of an endpoint is called beside its own name.
func NamesOf(e *discoveryv1.Endpoint) []string {
	if e.Hostname == nil {
		return nil
	}
	return strings.Split(*e.Hostname, ",")
}

// RefOf returns how a network's rows name a pod. PodOf is its inverse.
func RefOf(network, pod object.Key, uid types.UID) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{Name: pod.Name, UID: uid}
	if pod.Namespace != network.Namespace {
		ref.Namespace = pod.Namespace
	}
	return ref
}

// PodOf returns the pod that a network's row names.
func PodOf(network object.Key, ref *corev1.ObjectReference) object.Key {
	key := object.Key{Namespace: ref.Namespace, Name: ref.Name}
	if key.Namespace == "" {
		key.Namespace = network.Namespace
	}
	return key
}

// Of reports whether an endpoint is the pod's, and not that of an earlier one of the
// same name.
func Of(ref *corev1.ObjectReference, name string, uid types.UID) bool {
	return ref != nil && ref.Name == name && ref.UID == uid
}
