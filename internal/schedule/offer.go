package schedule

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/mesos/resource"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/share"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// lentFor is how long room that is lent to a framework is left to it by tenants that do not stand
// lower: one interval of allocation.
const lentFor = time.Second

// lent is room that an offer lends.
type lent struct {
	id     string
	role   string
	node   *node
	tenant *share.Node // of the role
	demand object.Demand
	made   time.Time
	open   bool   // it is anybody's: its time is over, or somebody who stands lower takes it
	taken  bool   // somebody who stands lower does: it is nothing that the role has
	to     string // name of the Framework
}

// setOffer takes in an offer; nil: it is gone.
func (c *cell) setOffer(r store.Reader, id string, o *mesos.Offer) {
	if old := c.lent[id]; old != nil {
		if o != nil && !o.Refused {
			return // what is lent does not change
		}
		delete(c.lent, id)
		if !old.taken {
			old.tenant.Charge(old.demand, -1)
		}
		old.node.lent = slices.DeleteFunc(old.node.lent, func(l *lent) bool { return l == old })
		c.improve(old.node)
		c.drop(old.node)
	}
	if o != nil && o.Refused {
		delete(c.slow, mesos.FrameworkName(o.Framework)) // it answers
	}
	if o == nil || o.Refused || o.Inverse {
		return
	}
	list, err := resource.From("resources", o.Resources)
	if err != nil {
		return // nobody but offer/offers writes them
	}
	asks, err := list.Unreserved().Firm().Requests()
	if err != nil {
		return
	}
	l := &lent{id: id, role: o.Role, node: c.node(o.Node), tenant: c.role(r, o.Role), made: o.Made, to: mesos.FrameworkName(o.Framework)}
	l.open = c.slow[l.to]
	l.demand, _ = object.CapacityOf(asks)
	l.tenant.Charge(l.demand, 1)
	c.lent[id] = l
	l.node.lent = append(l.node.lent, l)
	c.touch(l.node)
}

// age opens what has been lent for long, and returns when the next is due; zero: nothing is.
func (c *cell) age(now time.Time) (next time.Time) {
	for _, l := range c.lent {
		due := l.made.Add(lentFor)
		switch {
		case l.open:
		case !now.Before(due):
			l.open, c.slow[l.to] = true, true
			c.improve(l.node)
		case next.IsZero() || due.Before(next):
			next = due
		}
	}
	return next
}

const roomLent = "node(s) had room that is lent to frameworks"

// filterLent leaves room to frameworks that it is lent to (package comment, "Offers").
func filterLent(c *class, n *node) []string {
	if len(n.lent) == 0 || c.priority > 0 || accepted(c.pod) {
		return nil
	}
	left := n.Room
	for _, l := range n.lent {
		if !l.open {
			left.Used = share.Plus(left.Used, l.demand, 1)
		}
	}
	if lacks := left.Lacks(c.demand); len(lacks) == 0 {
		return nil
	}
	return []string{roomLent}
}

// accepted reports whether the pod is of an offer that was accepted: its room was lent to it.
func accepted(p *corev1.Pod) bool {
	return p.Labels[mesos.FrameworkLabel] != "" && onlyNode(p) != ""
}

// reclaim opens an offer whose room a pod of the class fits in and whose role does not stand lower
// than the pod's tenant; false: there is none.
func (s *Scheduler) reclaim(cl *class, t *share.Node) bool {
	if len(s.cell.lent) == 0 || cl.reclaimed == s.step {
		return false
	}
	for _, l := range s.offers() {
		if l.open || !cl.asks(l.node) || !share.Below(t, l.tenant, l.demand) {
			continue
		}
		l.open = true
		if s.cell.touch(l.node); cl.refusals(l.node) == nil {
			l.taken = true
			l.tenant.Charge(l.demand, -1)
			s.cell.improve(l.node)
			return true
		}
		l.open = false
	}
	cl.reclaimed = s.step
	return false
}

// offers returns what is lent, in order of the ids, which is that of their making.
func (s *Scheduler) offers() []*lent {
	if s.lent == nil {
		for _, l := range s.cell.lent {
			s.lent = append(s.lent, l)
		}
		slices.SortFunc(s.lent, func(a, b *lent) int { return strings.Compare(b.id, a.id) })
	}
	return s.lent
}

// kept is what is reserved on a node for a role and those below it.
type kept struct {
	path   string // of the role in the tree
	demand object.Demand
}

// setAgent takes in what is reserved on a node, and what it has beside its row.
func (c *cell) setAgent(r store.Reader, name string) {
	n := c.node(name)
	a, ok := tables.MesosAgent(r, name)
	n.kept, n.extras = nil, object.Demand{}
	if ok && n.row != nil {
		n.extras = mesos.Beside(n.row, a)
		byRole := map[string]resource.List{}
		for _, one := range mesos.Total(n.row, a) {
			if one.Reserved() && one.Volume == nil {
				path := c.role(r, one.Role()).Path()
				byRole[path] = append(byRole[path], one)
			}
		}
		for path, list := range byRole {
			if asks, err := list.Requests(); err == nil {
				d, _ := object.CapacityOf(asks)
				n.kept = append(n.kept, kept{path, d})
			}
		}
		slices.SortFunc(n.kept, func(a, b kept) int { return strings.Compare(a.path, b.path) })
	}
	c.measure(n)
	c.improve(n)
	c.drop(n)
}

// measure counts what the node can give.
func (c *cell) measure(n *node) {
	c.total = share.Plus(c.total, n.Can, -1)
	n.Can, n.CanPods = object.Demand{}, 0
	if n.row != nil {
		n.Has(n.row)
		n.Can = share.Plus(n.Can, n.extras, 1)
	}
	c.total = share.Plus(c.total, n.Can, 1)
	c.tree.SetTotal(c.total)
}

// filterReserved leaves what is reserved for roles to them: their pods take of it first.
func filterReserved(c *class, n *node) []string {
	if len(n.kept) == 0 {
		return nil
	}
	left := n.Room
	for _, k := range n.kept {
		if c.tenant.Path() == k.path || resource.Above(k.path, c.tenant.Path()) {
			continue
		}
		var drawn object.Demand
		for _, u := range n.held {
			if path := u.tenant.Path(); path == k.path || resource.Above(k.path, path) {
				drawn = share.Plus(drawn, u.demand, 1)
			}
		}
		left.Used = share.Plus(left.Used, less(k.demand, drawn), 1)
	}
	if len(left.Lacks(c.demand)) == 0 {
		return nil
	}
	return []string{"node(s) had room that is reserved for others"}
}

// less returns what a has more than b, of each resource.
func less(a, b object.Demand) object.Demand {
	out := object.Demand{CPUMilli: max(0, a.CPUMilli-b.CPUMilli), MemoryBytes: max(0, a.MemoryBytes-b.MemoryBytes), EphemeralBytes: max(0, a.EphemeralBytes-b.EphemeralBytes)}
	for name, n := range a.Extended {
		if more := n - b.Extended[name]; more > 0 {
			if out.Extended == nil {
				out.Extended = map[corev1.ResourceName]int64{}
			}
			out.Extended[name] = more
		}
	}
	return out
}
