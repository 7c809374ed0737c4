package schedule

import (
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/mesos"
	"trireme/internal/object/swarm"
	"trireme/internal/schedule/queue"
	"trireme/internal/share"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// enqueue puts a pod in line that waits, or notes what has changed of it.
func (s *Scheduler) enqueue(tx *store.Tx, p *corev1.Pod, key object.Key) {
	if s.cell.profileOf(p) == nil {
		s.forget(key)
		return
	}
	old := s.queue.Pod(key)
	if old != nil && s.wrote[key] == p {
		return
	}
	if group := object.PodGroup(p); group != "" && len(p.Spec.SchedulingGates) == 0 {
		s.gangs.Wait(key, group)
	} else {
		s.gangs.Drop(key)
	}
	s.lineUp(tx, p, key)
}

// lineUp puts a pod in the line of its class, where it stands in another.
func (s *Scheduler) lineUp(tx *store.Tx, p *corev1.Pod, key object.Key) {
	old := s.queue.Pod(key)
	p = s.cell.effective(p)
	s.cell.near.Expect(p)
	w := &queue.Pod{Key: key, UID: p.UID, Created: p.CreationTimestamp.Unix(), Class: s.classOf(p, key), Gated: len(p.Spec.SchedulingGates) > 0}
	c := object.PodCondition(p, corev1.PodScheduled)
	w.Told = c != nil && c.Status == corev1.ConditionFalse && (c.Reason == corev1.PodReasonSchedulingGated) == w.Gated
	s.cell.nominate(p)
	own := s.cell.nominated[key] != nil && !s.together(key)
	if old != nil && old.UID == w.UID && old.Class == w.Class && old.Gated == w.Gated && old.Own() == own {
		old.Told = old.Told && w.Told
		return
	}
	if accepted(p) {
		delete(s.cell.slow, p.Labels[mesos.FrameworkLabel])
	}
	s.queue.Enter(w, own, func() *queue.Line { return s.lineOf(tx, p) })
}

// lineOf makes the line of such pods.
func (s *Scheduler) lineOf(tx *store.Tx, p *corev1.Pod) *queue.Line {
	a := p.Spec.Affinity
	demand := object.DemandOf(p)
	return &queue.Line{
		Priority: object.PodPriority(p), Accepted: accepted(p), Demand: demand, Sum: demand, Gang: s.together(object.KeyOf(p)), Tenant: s.cell.tenant(tx, p.Namespace),
		Anchor: queue.AnchorOf(&p.Spec, onlyNode(p)),
		Anything: a != nil && (a.PodAffinity != nil || a.PodAntiAffinity != nil) || len(p.Spec.TopologySpreadConstraints) > 0 ||
			len(claim.OfPod(p)) > 0 || len(object.DynamicPorts(p)) > 0 || p.Annotations[swarm.PlacementAnnotation] != "",
	}
}

// forget drops a pod that waits for no node, and what was kept for it.
func (s *Scheduler) forget(key object.Key) {
	s.queue.Leave(key)
	s.gangs.Drop(key)
	if n := s.cell.unnominate(key); n != nil {
		s.cell.improve(n)
	}
}

// obstacle says what it is that speaks against a pod of the line; the class is nil where it is not that nodes
// refuse it.
func (s *Scheduler) obstacle(cl *class, l *queue.Line, why string) queue.Obstacle {
	switch {
	case cl == nil && why == s.cell.bound(l.Tenant, l.Demand, s.spare):
		return queue.Bounds
	case cl == nil || cl.near != nil || strings.Contains(why, roomLent):
		return queue.Other
	case l.Own || cl.reaches(s.cell):
		return queue.Nodes
	}
	return queue.Rows
}

// reaches reports whether there is a node whose row has nothing against the class.
func (cl *class) reaches(c *cell) bool {
	f := c.frame(cl)
	for _, n := range c.nodes {
		if _, why := f.judge(cl, n); why == "" && cl.asks(n) {
			return true
		}
	}
	return false
}

// tellOthers says to pods of lines that are shut why they wait, as long as the step may write.
func (s *Scheduler) tellOthers(tx *store.Tx, left int) {
	s.queue.Untold(func(w *queue.Pod) bool {
		if left <= 0 {
			return false
		}
		p, ok := tables.Pods.Get(tx, w.Key)
		if !ok {
			return true // it ends in the next step
		}
		v := verdict{reason: corev1.PodReasonSchedulingGated, why: gatesClosed, nominated: p.Status.NominatedNodeName}
		if l := w.Line(); l != nil {
			v.reason, v.why = corev1.PodReasonUnschedulable, l.Why()
		}
		left -= s.write(tx, p, w, v)
		return true
	})
}

// view is the cell as the queue sees it.
type view struct {
	*cell
	free object.Demand
}

// Mark implements queue.Cell.
func (v view) Mark() int { return v.mark() }

// Clock implements queue.Cell.
func (v view) Clock() uint64 { return v.clock }

// Bound implements queue.Cell.
func (v view) Bound(l *queue.Line) string { return v.bound(l.Tenant, l.Sum, v.free) }

// Moved implements queue.Cell.
func (v view) Moved() (moved bool) {
	moved, v.moved = v.moved, false
	return moved
}

// Nodes implements queue.Cell.
func (v view) Nodes() iter.Seq[queue.Node] {
	return func(yield func(queue.Node) bool) {
		for _, n := range v.list {
			if n != nil && !yield(nodeView{n}) {
				return
			}
		}
	}
}

// Improved implements queue.Cell.
func (v view) Improved(since int) (list []queue.Node) {
	if since < v.base {
		return slices.Collect(v.Nodes())
	}
	seen := make([]bool, len(v.list))
	for _, n := range v.improved[since-v.base:] {
		if v.list[n.slot] == n && !seen[n.slot] {
			seen[n.slot] = true
			list = append(list, nodeView{n})
		}
	}
	return list
}

// Lowest implements queue.Cell.
func (v view) Lowest() int64 {
	lowest := int64(1) << 32
	for p := range v.priorities {
		lowest = min(lowest, int64(p))
	}
	return lowest
}

// nodeView is a node as the queue sees it.
type nodeView struct{ *node }

// Name implements queue.Node.
func (n nodeView) Name() string { return n.name }

// Row implements queue.Node.
func (n nodeView) Row() *corev1.Node { return n.row }

// Whole implements queue.Node.
func (n nodeView) Whole() object.Demand { return n.Can }

// Places implements queue.Node.
func (n nodeView) Places() int64 { return n.CanPods - n.Pods }

// Keeps implements queue.Node.
func (n nodeView) Keeps() iter.Seq[object.Key] {
	return func(yield func(object.Key) bool) {
		for key := range n.nominated {
			if !yield(key) {
				return
			}
		}
	}
}

// LeftFor implements queue.Node.
func (n nodeView) LeftFor(l *queue.Line) object.Demand {
	left := n.Left()
	for key, u := range n.nominated {
		if u.priority >= l.Priority && !(l.Own && key == l.First().Key) {
			left = share.Plus(left, u.demand, -1)
		}
	}
	for _, u := range n.held {
		if u.leaving {
			left = share.Plus(left, u.demand, 1)
		}
	}
	return left
}
