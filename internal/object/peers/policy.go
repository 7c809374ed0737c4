package peers

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Policy is a network policy, read.
type Policy struct {
	Namespace string
	Pods      labels.Selector // whom it selects in its namespace
	In, Out   *Direction      // nil: it says nothing of that way
}

// Direction is what a policy allows one way, of pods that are isolated that way.
type Direction struct{ Rules []Rule }

// Rule lets traffic with any of its peers to any of its ports pass.
type Rule struct {
	Anyone bool // whoever the peer is
	Groups []Group
	Blocks []Block
	Ports  []Port // none: all, of every protocol
}

// Block is a range of addresses less some within it.
type Block struct {
	CIDR   netip.Prefix
	Except []netip.Prefix
}

// Port is a range of ports, or in an ingress rule the name of one. First 0 and no
// name: every port of the protocol.
type Port struct {
	Protocol    corev1.Protocol
	First, Last uint16
	Name        string
}

// Read reads a policy.
func Read(p *networkingv1.NetworkPolicy) Policy {
	out := Policy{Namespace: p.Namespace, Pods: selector(&p.Spec.PodSelector)}
	in, eg := len(p.Spec.PolicyTypes) == 0, len(p.Spec.PolicyTypes) == 0 && len(p.Spec.Egress) > 0
	in = in || slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
	eg = eg || slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	if in {
		out.In = &Direction{}
		for i := range p.Spec.Ingress {
			r := &p.Spec.Ingress[i]
			out.In.Rules = append(out.In.Rules, rule(p.Namespace, r.From, ports(r.Ports)))
		}
	}
	if eg {
		out.Out = &Direction{}
		for i := range p.Spec.Egress {
			r := &p.Spec.Egress[i]
			out.Out.Rules = append(out.Out.Rules, egress(p.Namespace, r.To, ports(r.Ports))...)
		}
	}
	return out
}

// Selects reports whether the policy is about a pod.
func (p *Policy) Selects(namespace string, of map[string]string) bool {
	return namespace == p.Namespace && p.Pods.Matches(labels.Set(of))
}

// Groups returns the groups that the policy names, by ID.
func (p *Policy) Groups() map[string]Group {
	out := map[string]Group{}
	for _, d := range []*Direction{p.In, p.Out} {
		if d == nil {
			continue
		}
		for _, r := range d.Rules {
			for _, g := range r.Groups {
				out[g.ID()] = g
			}
		}
	}
	return out
}

func rule(namespace string, peers []networkingv1.NetworkPolicyPeer, ports []Port) Rule {
	r := Rule{Anyone: len(peers) == 0, Ports: ports}
	for i := range peers {
		if b := peers[i].IPBlock; b != nil {
			if block, ok := readBlock(b); ok {
				r.Blocks = append(r.Blocks, block)
			}
			continue
		}
		r.Groups = append(r.Groups, group(namespace, &peers[i]))
	}
	return r
}

// egress splits a rule: what names ports goes to the members that have them.
func egress(namespace string, peers []networkingv1.NetworkPolicyPeer, all []Port) []Rule {
	var named, numbered []Port
	for _, p := range all {
		if p.Name != "" {
			named = append(named, p)
		} else {
			numbered = append(numbered, p)
		}
	}
	base := rule(namespace, peers, numbered)
	var out []Rule
	if len(named) == 0 || len(numbered) > 0 {
		out = append(out, base)
	}
	of := base.Groups
	if base.Anyone {
		of = []Group{{Namespaces: labels.Everything(), Pods: labels.Everything()}}
	}
	var with []Group
	for _, p := range named {
		for _, g := range of {
			g.Port, g.Protocol = p.Name, p.Protocol
			with = append(with, g)
		}
	}
	if len(with) > 0 {
		out = append(out, Rule{Groups: with})
	}
	return out
}

func readBlock(b *networkingv1.IPBlock) (Block, bool) {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return Block{}, false
	}
	out := Block{CIDR: cidr.Masked()}
	for _, e := range b.Except {
		if p, err := netip.ParsePrefix(e); err == nil {
			out.Except = append(out.Except, p.Masked())
		}
	}
	return out, true
}

func ports(list []networkingv1.NetworkPolicyPort) []Port {
	var out []Port
	for _, p := range list {
		q := Port{Protocol: corev1.ProtocolTCP}
		if p.Protocol != nil && *p.Protocol != "" {
			q.Protocol = *p.Protocol
		}
		switch {
		case p.Port == nil:
		case p.Port.Type == intstr.String:
			q.Name = p.Port.StrVal
		default:
			q.First, q.Last = uint16(p.Port.IntVal), uint16(p.Port.IntVal)
			if p.EndPort != nil {
				q.Last = uint16(*p.EndPort)
			}
		}
		out = append(out, q)
	}
	return out
}

// selector returns what a label selector matches: nothing where it cannot be read.
func selector(s *metav1.LabelSelector) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return sel
}

// Named returns the numbers of a pod's container ports of that name, sorted, each
// once.
func Named(p *corev1.Pod, name string, protocol corev1.Protocol) []uint16 {
	var out []uint16
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			for _, cp := range list[i].Ports {
				is := cp.Protocol
				if is == "" {
					is = corev1.ProtocolTCP
				}
				if cp.Name == name && is == protocol {
					out = append(out, uint16(cp.ContainerPort))
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
