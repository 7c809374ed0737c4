package schedule

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/schedule/gang"
	"trireme/internal/schedule/key"
	"trireme/internal/schedule/queue"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// placeGang gives as many pods of a gang nodes as have to go together, or none and says why. It returns what that cost
// of the step.
func (s *Scheduler) placeGang(tx *store.Tx, l *queue.Line, g *gang.Group) (cost int) {
	why, by := g.Lacks(), queue.Members
	if why == "" {
		list := s.members(tx, l, g)
		why, by = s.cell.bound(l.Tenant, l.Sum, s.spare), queue.Bounds
		if why == "" {
			why, by, cost = s.tryAll(tx, l, g, list)
		}
		if why == "" {
			return cost
		}
	}
	g.Say(tx, why)
	s.queue.Shut(view{s.cell, s.spare}, l, why, by)
	return cost + 1
}

// members returns the pods of the line, the largest first.
func (s *Scheduler) members(tx *store.Tx, l *queue.Line, g *gang.Group) (list []gang.Member) {
	for _, w := range l.Oldest(l.Len()) {
		if p, ok := tables.Pods.Get(tx, w.Key); ok {
			list = append(list, gang.Member{Pod: w, Row: p, Kind: s.cell.keyOf(s.cell.effective(p)), Demand: object.DemandOf(p)})
		}
	}
	gang.Sort(list, s.cell.total)
	g.Tell(l, list, func(p *corev1.Pod) *queue.Line { return s.lineOf(tx, s.cell.effective(p)) })
	return list
}

// tryAll tries domain after domain, first in the room that there is, then in what pods of lower priority have. Where a
// gang fits, all of it is placed, or room is kept for all of it.
func (s *Scheduler) tryAll(tx *store.Tx, l *queue.Line, g *gang.Group, list []gang.Member) (why string, by queue.Obstacle, cost int) {
	need := g.Need()
	kept := s.keptFor(list)
	domains := s.places(g, l.Sum, false)
	why, by = g.Short(0, "", ""), queue.Nodes
	best := -1
	for _, d := range domains {
		t := s.try(tx, d, list, need, false)
		cost += len(t.got)
		if len(t.got) < need {
			if len(t.got) > best {
				best, why = len(t.got), g.Short(len(t.got), d.Name(), t.why)
			}
			if t.looksAround() {
				by = queue.Other
			}
			t.undo(tx)
			continue
		}
		if wait := t.commit(tx, l, g); wait != "" {
			return wait, queue.Other, cost
		}
		return "", 0, cost
	}
	if slices.ContainsFunc(kept, (*node).leaves) {
		return why, by, cost // what is being made for it comes
	}
	for _, m := range list {
		s.letGo(tx, m)
	}
	priority := object.PodPriority(list[0].Row)
	if !s.cell.holdsBelow(priority) || slices.ContainsFunc(list, func(m gang.Member) bool { return neverPreempts(m.Row) }) {
		return why, by, cost
	}
	for _, d := range s.places(g, l.Sum, true) {
		t := s.try(tx, d, list, need, true)
		cost += preemptCost * len(t.got)
		if len(t.got) == need {
			t.evict(tx)
			return why, by, cost
		}
		t.undo(tx)
	}
	return why, by, cost
}

// keptFor returns the nodes where room is kept for the pods.
func (s *Scheduler) keptFor(list []gang.Member) (nodes []*node) {
	for _, m := range list {
		if u := s.cell.nominated[m.Key]; u != nil {
			nodes = append(nodes, u.node)
		}
	}
	return nodes
}

// letGo gives up the room that is kept for the pod.
func (s *Scheduler) letGo(tx *store.Tx, m gang.Member) {
	if n := s.cell.unnominate(m.Key); n != nil {
		s.cell.improve(n)
		s.promise(tx, m.Key, "")
	}
}

// promise writes where room is kept for the pod.
func (s *Scheduler) promise(tx *store.Tx, pod object.Key, node string) {
	p, ok := tables.Pods.Get(tx, pod)
	if !ok || p.Status.NominatedNodeName == node {
		return
	}
	next := *p
	next.Status.NominatedNodeName = node
	tables.Pods.Put(tx, &next)
	s.wrote[pod] = &next
}

// places returns where to try to place a gang, in that order: where some of it is, or in the room that there is, or that there would be
// with nobody there.
func (s *Scheduler) places(g *gang.Group, sum object.Demand, empty bool) []*gang.Place {
	if home := s.home(g); home != nil {
		return []*gang.Place{home}
	}
	return g.Places(func(yield func(gang.Node) bool) {
		for _, n := range s.cell.byName() {
			left, pods := n.Left(), n.CanPods-n.Pods
			if empty {
				left, pods = n.Can, n.CanPods
			}
			if n.row != nil && !yield(gang.Node{Row: n.row, Left: left, Pods: pods}) {
				return
			}
		}
	}, sum)
}

// home returns where the others of the group are, and so all have to be; nil: anywhere.
func (s *Scheduler) home(g *gang.Group) *gang.Place {
	if g == nil || s.cell.nodes[g.Home()] == nil {
		return nil
	}
	return g.At(s.cell.nodes[g.Home()].row)
}

// regroup takes up what has changed of groups: who goes with whom, and what is said of it.
func (s *Scheduler) regroup(tx *store.Tx) {
	for _, g := range s.gangs.Changed() {
		if g.Gang() && !g.Together() {
			g.Say(tx, "")
		}
		for _, key := range g.Waiting() {
			p, ok := tables.Pods.Get(tx, key)
			if !ok {
				continue
			}
			w := s.queue.Pod(key)
			if !g.Together() && g.Topology == "" && !w.Line().Gang {
				continue // it goes alone, as it did
			}
			delete(s.classes, w.Class)
			if now := s.classOf(s.cell.effective(p), key); now != w.Class {
				s.lineUp(tx, p, key)
			}
			s.queue.Knock(s.queue.Pod(key).Line())
		}
	}
}

// overdue has the groups looked at that were not placed in time, and tells of them. It returns when the next is due; zero:
// none.
func (s *Scheduler) overdue(tx *store.Tx) time.Time {
	late, next := s.gangs.Late(tx.Now())
	for _, g := range late {
		g.TellLate(tx)
		for _, key := range g.Waiting() {
			s.queue.Knock(s.queue.Pod(key).Line())
		}
	}
	return next
}

// classOf names the class in whose line the pod stands: those who go together stand in one, those who are to be in one
// domain are a class of their own.
func (s *Scheduler) classOf(p *corev1.Pod, pod object.Key) uint64 {
	g := s.gangs.Of(pod)
	if g == nil {
		return s.cell.keyOf(p)
	}
	h := key.New()
	h.String(g.Key.String())
	switch {
	case g.Together():
		return h.Sum64()
	case g.Topology == "":
		return s.cell.keyOf(p)
	}
	h.Number(int64(s.cell.keyOf(p)))
	return h.Sum64()
}

// together reports whether the pod is placed with others, or not at all.
func (s *Scheduler) together(key object.Key) bool {
	g := s.gangs.Of(key)
	return g != nil && g.Together()
}
