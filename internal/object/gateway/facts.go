package gateway

import (
	"iter"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"trireme/internal/object"
)

// Facts are what references lead to; nil: nothing is there.
type Facts interface {
	Service(object.Key) *corev1.Service
	Secret(object.Key) *corev1.Secret
	Labels(namespace string) labels.Set
	// Grants yields the ReferenceGrants of a namespace.
	Grants(namespace string) iter.Seq[*gatewayv1.ReferenceGrant]
}

// fault is why something is not as its author wants it; the zero fault is none.
type fault struct{ reason, message string }

// ref is one end of a reference.
type ref struct{ group, kind, namespace, name string }

// permitted reports whether an object may name another: one of its own namespace, or
// one that a ReferenceGrant there lets it name.
func permitted(f Facts, from, to ref) bool {
	if from.namespace == to.namespace {
		return true
	}
	for g := range f.Grants(to.namespace) {
		if grants(g, from, to) {
			return true
		}
	}
	return false
}

func grants(g *gatewayv1.ReferenceGrant, from, to ref) bool {
	ours := false
	for _, x := range g.Spec.From {
		ours = ours || string(x.Group) == from.group && string(x.Kind) == from.kind && string(x.Namespace) == from.namespace
	}
	if !ours {
		return false
	}
	for _, x := range g.Spec.To {
		if string(x.Group) == to.group && string(x.Kind) == to.kind && (x.Name == nil || *x.Name == "" || string(*x.Name) == to.name) {
			return true
		}
	}
	return false
}

// or returns what a pointer points to, else another value.
func or[T any](p *T, other T) T {
	if p == nil {
		return other
	}
	return *p
}

// covers reports whether a host name, which may have a star for one or more labels or
// be empty for any, stands for all that another does.
func covers(host, other string) bool {
	switch {
	case host == "" || host == other:
		return true
	case strings.HasPrefix(host, "*."):
		return strings.HasSuffix(strings.TrimPrefix(other, "*"), host[1:]) && other != host[2:]
	}
	return false
}

// meet returns the names that two host names both stand for; false where there are none.
func meet(a, b string) (string, bool) {
	switch {
	case covers(a, b):
		return b, true
	case covers(b, a):
		return a, true
	}
	return "", false
}
