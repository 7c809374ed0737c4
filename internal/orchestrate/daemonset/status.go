package daemonset

import (
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
	if s.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType || s.wrote > 0 {
		return // what was written changes the counts: the next step
	}
	var at []*spot
	var places []rollout.Place
	desired := 0
	for _, sp := range s.spots {
		if sp.runs {
			desired++
		}
		if sp.runs || sp.keeps && len(sp.pods) > 0 {
			at = append(at, sp)
			places = append(places, s.place(sp))
		}
	}
	moves := rollout.Replace(s.policy(desired), places)
	for _, i := range moves.End {
		for _, p := range at[i].pods {
			if !s.isFresh(p) && !p.head.Deleting {
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
	return s.fresh[p.head.Labels[appsv1.ControllerRevisionHashLabelKey]]
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
		case s.available(p.head):
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
// it that the set is looked at when it has.
func (s *step) available(h *tables.PodHead) bool {
	if !h.Ready {
		return false
	}
	at := h.ReadySince.Add(time.Duration(s.set.Spec.MinReadySeconds) * time.Second)
	if s.set.Spec.MinReadySeconds == 0 || !s.tx.Now().Before(at) {
		return true
	}
	s.wake(at)
	return false
}

// writeStatus counts nodes by the oldest pod of each, and writes the set's status
// if it differs from what stands.
func (s *step) writeStatus() {
	had := &s.set.Status
	st := appsv1.DaemonSetStatus{ObservedGeneration: s.set.Generation, CollisionCount: had.CollisionCount, Conditions: had.Conditions}
	if c := s.history.Collisions; c != nil {
		st.CollisionCount = c
	}
	for _, sp := range s.spots {
		switch {
		case sp.missing:
		case !sp.runs && len(sp.pods) > 0:
			st.NumberMisscheduled++
		case sp.runs:
			st.DesiredNumberScheduled++
			if len(sp.pods) == 0 {
				continue
			}
			st.CurrentNumberScheduled++
			p := sp.pods[0]
			if s.isFresh(p) {
				st.UpdatedNumberScheduled++
			}
			if p.head.Ready {
				st.NumberReady++
				if s.available(p.head) {
					st.NumberAvailable++
				}
			}
		}
	}
	st.NumberUnavailable = st.DesiredNumberScheduled - st.NumberAvailable
	if equality.Semantic.DeepEqual(st, *had) {
		return
	}
	next := s.set.DeepCopy()
	next.Status = st
	tables.DaemonSets.Put(s.tx, next)
}
