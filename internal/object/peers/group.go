package peers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Group is a set of pods that a policy names by labels.
type Group struct {
	Namespace  string          // of the pods, where Namespaces is nil
	Namespaces labels.Selector // which namespaces
	Pods       labels.Selector // which pods in them

	// Port leaves only pods with a container port of that name, and makes the
	// members addresses with ports; empty: addresses alone.
	Port     string
	Protocol corev1.Protocol
}

func group(namespace string, p *networkingv1.NetworkPolicyPeer) Group {
	g := Group{Namespace: namespace, Pods: labels.Everything()}
	if p.PodSelector != nil {
		g.Pods = selector(p.PodSelector)
	}
	if p.NamespaceSelector != nil {
		g.Namespace, g.Namespaces = "", selector(p.NamespaceSelector)
	}
	return g
}

// ID returns a name that groups share which say the same in the same words.
func (g *Group) ID() string {
	namespaces := "="
	if g.Namespaces != nil {
		namespaces = text(g.Namespaces)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", g.Namespace, namespaces, text(g.Pods), g.Port, g.Protocol))
	return hex.EncodeToString(sum[:12])
}

// text tells selectors apart: the library writes nothing for those that match all
// and for those that match none.
func text(s labels.Selector) string {
	if _, selectable := s.Requirements(); !selectable {
		return "!"
	}
	return s.String()
}

// Within reports whether pods of a namespace with these labels may be members.
func (g *Group) Within(namespace string, of map[string]string) bool {
	if g.Namespaces == nil {
		return namespace == g.Namespace
	}
	return g.Namespaces.Matches(labels.Set(of))
}

// Matches reports whether a pod with these labels is a member, in a namespace that
// may have some.
func (g *Group) Matches(of map[string]string) bool { return g.Pods.Matches(labels.Set(of)) }
