package schedule

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/object"
	"trireme/internal/share"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// tenants is who has how much of the cell, and what is set for them.
type tenants struct {
	tree   *share.Tree
	spaces map[string]*share.Node // by namespace
	roles  map[string]*share.Node // by role of Mesos
	bounds map[*share.Node]*bounds
	// guaranteed are the tenants that others leave something free for, in order of their paths.
	guaranteed []*share.Node
	total      object.Demand // of all nodes
	moved      bool          // somebody has more or less than when bounds were last looked at
}

// bounds are what a tenant has at least and at most.
type bounds struct{ guarantee, limit []bound }

type bound struct {
	name corev1.ResourceName
	n    int64
}

func newTenants() tenants {
	return tenants{tree: share.New(), spaces: map[string]*share.Node{}, roles: map[string]*share.Node{}, bounds: map[*share.Node]*bounds{}}
}

// tenant returns whose the pods of a namespace are.
func (t *tenants) tenant(r store.Reader, namespace string) *share.Node {
	n := t.spaces[namespace]
	if n == nil {
		n = t.tree.At(tables.TenantPath(r, namespace))
		t.spaces[namespace] = n
	}
	return n
}

// role returns whose what is lent to a role is.
func (t *tenants) role(r store.Reader, role string) *share.Node {
	n := t.roles[role]
	if n == nil {
		n = t.tree.At(tables.RolePath(r, role))
		t.roles[role] = n
	}
	return n
}

// readTenants takes in what is set for tenants, and counts again who has what.
func (c *cell) readTenants(r store.Reader) {
	total := c.total
	c.tenants = newTenants()
	c.total = total
	c.tree.SetTotal(total)
	for t := range tables.Tenants(r) {
		n := c.tree.At(tables.TenantPath(r, t.Name))
		n.SetWeight(t.Weight())
		if b := (&bounds{boundsOf(t.Spec.Guarantee), boundsOf(t.Spec.Limit)}); len(b.guarantee)+len(b.limit) > 0 {
			c.bounds[n] = b
		}
	}
	for n, b := range c.bounds {
		if len(b.guarantee) > 0 {
			c.guaranteed = append(c.guaranteed, n)
		}
	}
	slices.SortFunc(c.guaranteed, func(a, b *share.Node) int { return strings.Compare(a.Path(), b.Path()) })
	for _, u := range c.uses {
		u.tenant = c.tenant(r, u.key.Namespace)
		u.tenant.Charge(u.demand, 1)
	}
	for _, l := range c.lent {
		if l.tenant = c.role(r, l.role); !l.taken {
			l.tenant.Charge(l.demand, 1)
		}
	}
}

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

// settled reports whether the tree of tenants is as it was read.
func (s *Scheduler) settled(tx *store.Tx) bool {
	for key := range tables.CustomObjects.Changed(tx) {
		if _, ok := tables.IsTenant(key); ok {
			return false
		}
	}
	for key := range tables.Namespaces.Changed(tx) {
		if n := s.cell.spaces[key.Name]; n != nil && n.Path() != tables.TenantPath(tx, key.Name) {
			return false
		}
	}
	return true
}

// charge books a pod to a tenant (sign 1) or takes it back (-1).
func (t *tenants) charge(n *share.Node, d object.Demand, sign int64) {
	n.Charge(d, sign)
	t.moved = len(t.bounds) > 0
}

// over says which limit a pod more of the tenant would exceed; empty: none.
func (c *cell) over(t *share.Node, d object.Demand) string {
	if len(c.bounds) == 0 {
		return ""
	}
	for n := t; n != nil; n = n.Parent() {
		b := c.bounds[n]
		if b == nil {
			continue
		}
		for _, l := range b.limit {
			if want, used := share.Amount(d, l.name), share.Amount(n.Used(), l.name); want > 0 && used+want > l.n {
				return fmt.Sprintf("tenant %s would exceed its limit of %s: %s asked for, %s used, %s limited", n.Path(), l.name, text(l.name, want), text(l.name, used), text(l.name, l.n))
			}
		}
	}
	return ""
}

// bound says which limit or guarantee speaks against a pod more of the tenant; empty: none.
func (c *cell) bound(t *share.Node, d, spare object.Demand) string {
	if why := c.over(t, d); why != "" {
		return why
	}
	return c.keeps(t, d, spare)
}

// keeps says which guarantee of others would be hurt by a pod more of the tenant; empty: none. spare
// is what nobody has.
func (c *cell) keeps(t *share.Node, d, spare object.Demand) string {
	var first *share.Node
	left := map[corev1.ResourceName]int64{}
	for _, g := range c.guaranteed {
		if within(t, g) {
			continue
		}
		for _, b := range c.bounds[g].guarantee {
			if unmet := b.n - share.Amount(g.Used(), b.name); unmet > 0 && share.Amount(d, b.name) > 0 {
				left[b.name] += unmet
				if first == nil {
					first = g
				}
				if share.Amount(spare, b.name)-share.Amount(d, b.name) < left[b.name] {
					return fmt.Sprintf("what is free of %s is kept for the guarantee of tenant %s", b.name, first.Path())
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

// spare returns what nobody has of the nodes that take pods.
func (c *cell) spare() (sum object.Demand) {
	for _, n := range c.nodes {
		if n.row != nil && n.row.DeletionTimestamp == nil && object.NodeReady(n.row) && !n.row.Spec.Unschedulable {
			sum = share.Plus(sum, n.Left(), 1)
		}
	}
	return sum
}

func text(name corev1.ResourceName, n int64) string {
	q := resource.NewQuantity(n, resource.BinarySI)
	if name == corev1.ResourceCPU {
		q = resource.NewMilliQuantity(n, resource.DecimalSI)
	}
	return q.String()
}
