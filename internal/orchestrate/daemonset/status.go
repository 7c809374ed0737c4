package daemonset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"

	"trireme/internal/rollout"
	"trireme/internal/tables"
)

// policy says the update strategy in the engine's words, for so many nodes.
func (s *step) policy(nodes int) (p rollout.Policy) {
	p.Desired = nodes
	r := s.set.Spec.UpdateStrategy.RollingUpdate
	if r == nil || s.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		p.Unavailable = 1
		return p
	}
	// Rounded up, or a percentage of few nodes would be nothing.
	count := func(v *intstr.IntOrString) int {
		if v == nil {
			return 0
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(v, max(nodes, 1), true)
		if err != nil {
			return 0
		}
		return n
	}
	p.Unavailable, p.Surge = count(r.MaxUnavailable), count(r.MaxSurge)
	if p.Unavailable == 0 && p.Surge == 0 {
		p.Unavailable = 1
	}
	return p
}

// renew deletes pods of an old revision, or makes new ones beside them, as the
// engine says.
func (s *step) renew() {
	if s.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		return
	}
	var at []*spot
	var places []rollout.Place
	for _, sp := range s.crew.all() {
		if sp.runs || sp.keeps && len(sp.pods) > 0 {
			at = append(at, sp)
			places = append(places, s.place(sp))
		}
	}
	moves := rollout.Replace(s.policy(int(s.crew.sum.desired)), places)
	for _, i := range moves.End {
		for _, p := range at[i].pods {
			if !s.isFresh(p) && !p.head.Deleting && !s.full() {
				s.end(p)
			}
		}
	}
	for _, i := range moves.Start {
		if !at[i].runs || s.full() || !s.make(at[i]) {
			return
		}
	}
}

func (s *step) isFresh(p pod) bool {
	return s.crew.fresh[p.head.Labels[appsv1.ControllerRevisionHashLabelKey]]
}

// place says how the pods of a node stand. A node that may keep its pod but get
// no new one is held.
func (s *step) place(sp *spot) (pl rollout.Place) {
	pl.Held = !sp.runs
	for _, p := range sp.pods {
		stand := rollout.Coming
		switch {
		case p.head.Deleting:
			stand = rollout.Ending
		case p.head.Ended():
			continue
		case s.available(sp, p.head):
			stand = rollout.Available
		}
		at := &pl.Old
		if s.isFresh(p) {
			at = &pl.New
		}
		if *at == rollout.Absent || *at == rollout.Ending {
			*at = stand
		}
	}
	return pl
}

// available reports whether the pod has been ready for long enough, and sees to
// it that the node is looked at when it has.
func (s *step) available(sp *spot, h *tables.PodHead) bool {
	if !h.Ready {
		return false
	}
	at := h.ReadySince.Add(time.Duration(s.set.Spec.MinReadySeconds) * time.Second)
	if s.set.Spec.MinReadySeconds == 0 || !s.tx.Now().Before(at) {
		return true
	}
	s.waitFor(sp, at)
	return false
}

func (s *step) waitFor(sp *spot, at time.Time) {
	if had, ok := s.crew.waiting[sp.node]; !ok || at.Before(had) {
		s.crew.waiting[sp.node] = at
	}
}

// count counts spots anew, each by its oldest pod that can be seen, and forgets those of nodes that
// are gone with their pods.
func (s *step) count(spots []*spot) {
	for _, sp := range spots {
		delete(s.crew.waiting, sp.node)
		s.crew.sum.add(sp.count, -1)
		sp.count = s.one(sp)
		s.crew.sum.add(sp.count, 1)
		if sp.missing && len(sp.pods) == 0 {
			delete(s.crew.spots, sp.node)
			delete(s.crew.touched, sp.node)
		}
	}
}

func (s *step) one(sp *spot) (c counts) {
	for _, p := range sp.pods {
		if !s.isFresh(p) && !p.head.Deleting && !p.head.Ended() {
			c.old++
		}
		s.available(sp, p.head) // wakes the set when it is
	}
	seen := slices.IndexFunc(sp.pods, func(p pod) bool { return !p.head.UnderReview })
	switch {
	case sp.missing:
	case !sp.runs && seen >= 0:
		c.misplaced = 1
	case sp.runs:
		c.desired = 1
		if seen < 0 {
			return c
		}
		c.current = 1
		p := sp.pods[seen]
		if s.isFresh(p) {
			c.updated = 1
		}
		if p.head.Ready {
			c.ready = 1
			if s.available(sp, p.head) {
				c.available = 1
			}
		}
	}
	return c
}

// writeStatus writes the set's status if it differs from what stands.
func (s *step) writeStatus() {
	had, sum := &s.set.Status, &s.crew.sum
	st := appsv1.DaemonSetStatus{
		ObservedGeneration: s.set.Generation, CollisionCount: had.CollisionCount, Conditions: had.Conditions,
		DesiredNumberScheduled: sum.desired, CurrentNumberScheduled: sum.current, NumberMisscheduled: sum.misplaced,
		UpdatedNumberScheduled: sum.updated, NumberReady: sum.ready, NumberAvailable: sum.available, NumberUnavailable: sum.desired - sum.available,
	}
	if c := s.history.Collisions; c != nil {
		st.CollisionCount = c
	}
	if equality.Semantic.DeepEqual(st, *had) {
		return
	}
	next := s.set.DeepCopy()
	next.Status = st
	tables.DaemonSets.Put(s.tx, next)
}
