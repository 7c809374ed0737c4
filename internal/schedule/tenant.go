package schedule

import (
	"trireme/internal/object"
	"trireme/internal/schedule/bounds"
	"trireme/internal/share"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// tenants is who has how much of the cell, and what is set for them.
type tenants struct {
	tree   *share.Tree
	spaces map[string]*share.Node // by namespace
	roles  map[string]*share.Node // by role of Mesos
	bounds bounds.Bounds
	total  object.Demand // of all nodes
	moved  bool          // somebody has more or less than when bounds were last looked at
}

func newTenants() tenants {
	return tenants{tree: share.New(), spaces: map[string]*share.Node{}, roles: map[string]*share.Node{}, bounds: bounds.New()}
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
		c.bounds.Set(n, t.Spec.Guarantee, t.Spec.Limit)
	}
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
	t.moved = t.bounds.Any()
}

// bound says which limit or guarantee speaks against a pod more of the tenant; empty: none.
func (c *cell) bound(t *share.Node, d, spare object.Demand) string {
	return c.bounds.Refuse(t, d, spare)
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
