package schedule

import (
	"cmp"
	"hash/fnv"
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/schedule/budget"
	"trireme/internal/schedule/queue"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

const (
	// candidatesMax is how many nodes are found where evictions would make room
	// before the best of them is taken.
	candidatesMax = 100
	// preemptCost is what making room costs of a step, in placements.
	preemptCost = 10
)

// candidate is a node that has room for a pod once the victims have left.
type candidate struct {
	node       *node
	victims    []*use // the most important first
	violations int    // victims whose disruption budgets cannot bear it
}

// preempt makes room for a pod that no node takes, and keeps it: the pods of lower
// priority whose loss is the least are deleted (Kubernetes, "Pod Priority and
// Preemption"). It returns the node where room is kept for the pod, "" for none.
func (s *Scheduler) preempt(tx *store.Tx, p *corev1.Pod, cl *class) (node string, cost int) {
	key := object.KeyOf(p)
	kept := s.cell.nominated[key]
	may := !neverPreempts(p)
	if may && kept != nil && kept.node.leaves() && !cl.never(kept.node) {
		return kept.node.name, 0 // what is being made for it comes
	}
	var best *candidate
	if may && s.cell.holdsBelow(cl.priority) {
		best = s.cheapest(tx, cl, key)
	}
	if kept != nil {
		s.cell.improve(s.cell.unnominate(key))
	}
	if best == nil {
		return "", 0
	}
	for _, u := range best.victims {
		s.evict(tx, u, p)
	}
	s.outbid(tx, best.node, cl.priority)
	s.cell.keep(best.node, useOf(cl, p))
	return best.node.name, preemptCost
}

// neverPreempts reports whether the pod takes no room from others.
func neverPreempts(p *corev1.Pod) bool {
	return p.Spec.PreemptionPolicy != nil && *p.Spec.PreemptionPolicy == corev1.PreemptNever
}

// holdsBelow reports whether there is a pod with a node of lower priority.
func (c *cell) holdsBelow(priority int32) bool {
	for have := range c.priorities {
		if have < priority {
			return true
		}
	}
	return false
}

// leaves reports whether a pod is on its way from the node.
func (n *node) leaves() bool {
	return slices.ContainsFunc(n.held, func(u *use) bool { return u.leaving })
}

// never reports whether the node would refuse the pod with nobody on it, too.
func (cl *class) never(n *node) bool {
	return !cl.asks(n) || slices.ContainsFunc(rules, func(r rule) bool { return !r.room && len(r.refuses(cl, n)) > 0 })
}

// fits reports whether the node has room.
func (cl *class) fits(n *node) bool {
	return !slices.ContainsFunc(rules, func(r rule) bool { return r.room && len(r.refuses(cl, n)) > 0 })
}

// cheapest returns where room is made at the least loss; nil: nowhere. Where it has
// looked in vain, only nodes that have got better since are looked at again: what
// took a node meanwhile did not give it more than its victims' room.
func (s *Scheduler) cheapest(tx *store.Tx, cl *class, pod object.Key) (best *candidate) {
	found := 0
	for _, n := range s.untried(cl, pod) {
		c, told := s.reckon(tx, cl, n, pod)
		if !told {
			c = s.trial(tx, cl, n, pod)
		}
		if c == nil {
			continue
		}
		if best == nil || c.compare(best) < 0 {
			best = c
		}
		if found++; found == candidatesMax || len(c.victims) == 0 {
			break
		}
	}
	if best == nil {
		cl.tried = s.cell.mark()
	}
	return best
}

// untried returns the nodes to look at, in an order that differs from pod to pod,
// so that not all make room on the same ones.
func (s *Scheduler) untried(cl *class, pod object.Key) []*node {
	c := s.cell
	var list []*node
	if cl.tried >= c.base {
		names := map[string]bool{}
		for _, n := range c.improved[cl.tried-c.base:] {
			names[n.name] = true
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if n := c.nodes[name]; n != nil {
				list = append(list, n)
			}
		}
	} else {
		list = c.byName()
	}
	if len(list) <= candidatesMax {
		return list
	}
	h := fnv.New32a()
	h.Write([]byte(pod.String()))
	at := int(h.Sum32() % uint32(len(list)))
	return append(list[at:len(list):len(list)], list[:at]...)
}

// reckon is trial where numbers say it all: nothing but cpu, memory and pods is asked for, nobody has
// anything beside pods on the node, and no budget guards them. told: they do.
func (s *Scheduler) reckon(tx *store.Tx, cl *class, n *node, pod object.Key) (_ *candidate, told bool) {
	if cl.special || cl.near != nil || cl.malformed != "" || len(n.lent)+len(n.kept) > 0 {
		return nil, false
	}
	if !cl.asks(n) {
		return nil, true
	}
	cpu, memory, pods := n.Can.CPUMilli, n.Can.MemoryBytes, n.CanPods
	fits := func() bool { return pods >= 1 && cl.cpu <= cpu && cl.memory <= memory }
	count := func(u *use, sign int64) {
		cpu, memory, pods = cpu-sign*u.demand.CPUMilli, memory-sign*u.demand.MemoryBytes, pods-sign
	}
	for key, u := range n.nominated {
		if u.priority >= cl.priority && key != pod {
			count(u, 1)
		}
	}
	if !fits() {
		return nil, true // others have made room here: most nodes, when many pods do
	}
	if _, why := s.cell.frame(cl).judge(cl, n); why != "" {
		return nil, true
	}
	may := 0
	for _, u := range s.cell.ordered(n) {
		if u.leaving || u.priority < cl.priority {
			may++
		} else {
			count(u, 1)
		}
	}
	if may == 0 || !fits() {
		return nil, true
	}
	c, space := &candidate{node: n}, ""
	for _, u := range n.order {
		if u.leaving || u.priority >= cl.priority {
			continue
		}
		if u.key.Namespace != space {
			if space = u.key.Namespace; s.budgets.Guards(tx, space) {
				return nil, false
			}
		}
		if count(u, 1); !fits() {
			count(u, -1)
			c.victims = append(c.victims, u)
		}
	}
	return c, true
}

// ordered returns the node's pods, the most important first.
func (c *cell) ordered(n *node) []*use {
	if at := c.spots[n.slot].version; n.orderAt != at {
		n.order, n.orderAt = slices.Clone(n.held), at
		slices.SortFunc(n.order, moreImportant)
	}
	return n.order
}

// trial takes all pods of lower priority from a copy of the node, brings back as
// many as fit, the most important first and those before the others whose budgets
// cannot bear the loss, and returns who did not fit; nil: there is no room then
// either. Pods that are going anyway are no loss.
func (s *Scheduler) trial(tx *store.Tx, cl *class, n *node, pod object.Key) *candidate {
	if cl.never(n) {
		return nil
	}
	left := n.beside(cl.priority, pod)
	if left == n {
		left = n.settled()
	}
	var may []*use
	for _, u := range n.held {
		if !u.leaving && u.priority < cl.priority {
			left.add(u, -1)
			may = append(may, u)
		}
	}
	if cl.near != nil {
		defer s.cell.without(n, cl.priority)()
	}
	if len(may) == 0 && !n.leaves() || !cl.fits(left) {
		return nil
	}
	slices.SortFunc(may, moreImportant)
	c := &candidate{node: n}
	guarded, others := budget.Split(tx, s.budgets, may, func(u *use) object.Key { return u.key })
	for i, list := range [][]*use{guarded, others} {
		for _, u := range list {
			if s.cell.bring(left, u); cl.fits(left) {
				continue
			}
			s.cell.send(left, u)
			c.victims = append(c.victims, u)
			if i == 0 {
				c.violations++
			}
		}
	}
	slices.SortFunc(c.victims, moreImportant)
	return c
}

// moreImportant orders pods by whom it is worse to lose: by priority, then those
// that are older.
func moreImportant(a, b *use) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.created, b.created), a.key.Compare(b.key))
}

// compare orders candidates by loss: fewest budgets violated, then the lowest
// highest priority of a victim, the lowest sum of priorities, the fewest victims,
// and the youngest of the oldest among the most important (Kubernetes, default
// preemption). Equal ones go by name.
func (c *candidate) compare(o *candidate) int {
	return cmp.Or(
		cmp.Compare(c.violations, o.violations), cmp.Compare(c.highest(), o.highest()), cmp.Compare(c.sum(), o.sum()),
		cmp.Compare(len(c.victims), len(o.victims)), cmp.Compare(o.created(), c.created()), cmp.Compare(c.node.name, o.node.name))
}

func (c *candidate) highest() int64 {
	if len(c.victims) == 0 {
		return math.MinInt64
	}
	return int64(c.victims[0].priority)
}

// sum adds up the victims' priorities, all of which count as more than none.
func (c *candidate) sum() (sum int64) {
	for _, u := range c.victims {
		sum += int64(u.priority) - math.MinInt32
	}
	return sum
}

// created returns when the oldest of the most important victims was made.
func (c *candidate) created() int64 {
	if len(c.victims) == 0 {
		return math.MaxInt64
	}
	return c.victims[0].created
}

// evict deletes the pod in favour of another, and tells it.
func (s *Scheduler) evict(tx *store.Tx, u *use, by *corev1.Pod) {
	victim, ok := tables.Pods.Get(tx, u.key)
	if !ok {
		return
	}
	s.budgets.Spend(tx, u.key, 1)
	s.cell.leave(u)
	next := victim.DeepCopy()
	cause := object.Disruption{Reason: corev1.PodReasonPreemptionByScheduler, Message: by.Spec.SchedulerName + ": preempting to accommodate a higher priority pod"}
	if remove, _ := (object.Deletion{Now: tx.Now(), Cause: cause}).Mark(next); remove {
		tables.Pods.Delete(tx, u.key)
	} else {
		tables.Pods.Put(tx, next)
	}
	// The other's name is not for the victim's namespace to know.
	tell.About(tx, tables.Pods, victim, tell.Event{
		From: by.Spec.SchedulerName, Type: corev1.EventTypeNormal, Reason: "Preempted",
		Message: "Preempted by pod " + string(by.UID) + " on node " + u.node.name,
	})
}

// outbid takes the room that is kept on the node from pods of lower priority.
func (s *Scheduler) outbid(tx *store.Tx, n *node, priority int32) {
	for _, k := range slices.SortedFunc(maps.Keys(n.nominated), object.Key.Compare) {
		if n.nominated[k].priority < priority {
			s.unpromise(tx, k)
		}
	}
}

// unpromise takes the room from a pod that one of higher priority takes.
func (s *Scheduler) unpromise(tx *store.Tx, key object.Key) {
	s.cell.improve(s.cell.unnominate(key))
	p, ok := tables.Pods.Get(tx, key)
	if !ok {
		return
	}
	next := *p
	next.Status.NominatedNodeName = ""
	tables.Pods.Put(tx, &next)
	if w := s.queue.Pod(key); w.Own() {
		s.queue.Move(w, false, func() *queue.Line { return s.lineOf(tx, s.cell.effective(p)) })
		s.queue.Knock(w.Line())
	}
}
