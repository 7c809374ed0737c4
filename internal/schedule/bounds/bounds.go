// Package bounds says what tenants have at most and at least: a limit lets no more of a tenant's pods in, a guarantee has
// others leave something free (docs/tenants.md). Who has how much is the tree's to know (internal/share).
//
// It is pure and belongs to one goroutine.
//
// How to debug: what Refuse says is in the condition PodScheduled of the pod.
package bounds

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/object"
	"trireme/internal/share"
)

// Bounds are what is set for tenants.
type Bounds struct {
	of map[*share.Node]*pair
	// guaranteed are the tenants that others leave something free for, in order of their paths.
	guaranteed []*share.Node
}

type pair struct{ guarantee, limit []bound }

type bound struct {
	name corev1.ResourceName
	n    int64
}

// New returns bounds of nobody.
func New() Bounds { return Bounds{of: map[*share.Node]*pair{}} }

// Set sets what the tenant has at least and at most.
func (b *Bounds) Set(n *share.Node, guarantee, limit corev1.ResourceList) {
	own := &pair{boundsOf(guarantee), boundsOf(limit)}
	if len(own.guarantee)+len(own.limit) == 0 {
		return
	}
	if b.of[n] = own; len(own.guarantee) > 0 {
		b.guaranteed = append(b.guaranteed, n)
		slices.SortFunc(b.guaranteed, func(x, y *share.Node) int { return strings.Compare(x.Path(), y.Path()) })
	}
}

// Any reports whether anything is set.
func (b *Bounds) Any() bool { return len(b.of) > 0 }

// Guarantee reports whether anything is guaranteed.
func (b *Bounds) Guarantee() bool { return len(b.guaranteed) > 0 }

func boundsOf(list corev1.ResourceList) (out []bound) {
	d, pods := object.CapacityOf(list)
	for name := range list {
		n := share.Amount(d, name)
		if name == corev1.ResourcePods {
			n = pods
		}
		out = append(out, bound{name, n})
	}
	slices.SortFunc(out, func(a, b bound) int { return strings.Compare(string(a.name), string(b.name)) })
	return out
}

// over says which limit a pod more of the tenant would exceed; empty: none.
func (b *Bounds) over(t *share.Node, d object.Demand) string {
	if len(b.of) == 0 {
		return ""
	}
	for n := t; n != nil; n = n.Parent() {
		own := b.of[n]
		if own == nil {
			continue
		}
		for _, l := range own.limit {
			if want, used := share.Amount(d, l.name), share.Amount(n.Used(), l.name); want > 0 && used+want > l.n {
				return fmt.Sprintf("tenant %s would exceed its limit of %s: %s asked for, %s used, %s limited", n.Path(), l.name, Text(l.name, want), Text(l.name, used), Text(l.name, l.n))
			}
		}
	}
	return ""
}

// Refuse says which limit or guarantee speaks against a pod more of the tenant; empty: none. spare
// is what nobody has.
func (b *Bounds) Refuse(t *share.Node, d, spare object.Demand) string {
	if why := b.over(t, d); why != "" {
		return why
	}
	return b.keeps(t, d, spare)
}

// keeps says which guarantee of others would be hurt by a pod more of the tenant; empty: none. spare
// is what nobody has.
func (b *Bounds) keeps(t *share.Node, d, spare object.Demand) string {
	var first *share.Node
	left := map[corev1.ResourceName]int64{}
	for _, g := range b.guaranteed {
		if within(t, g) {
			continue
		}
		for _, least := range b.of[g].guarantee {
			if unmet := least.n - share.Amount(g.Used(), least.name); unmet > 0 && share.Amount(d, least.name) > 0 {
				left[least.name] += unmet
				if first == nil {
					first = g
				}
				if share.Amount(spare, least.name)-share.Amount(d, least.name) < left[least.name] {
					return fmt.Sprintf("what is free of %s is kept for the guarantee of tenant %s", least.name, first.Path())
				}
			}
		}
	}
	return ""
}

// within reports whether the tenant is g or below it.
func within(t, g *share.Node) bool {
	for n := t; n != nil; n = n.Parent() {
		if n == g {
			return true
		}
	}
	return false
}

// Text returns a number of a resource as people write it.
func Text(name corev1.ResourceName, n int64) string {
	q := resource.NewQuantity(n, resource.BinarySI)
	if name == corev1.ResourceCPU {
		q = resource.NewMilliQuantity(n, resource.DecimalSI)
	}
	return q.String()
}
