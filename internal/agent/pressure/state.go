package pressure

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Amount is what there is of a signal.
type Amount struct{ Available, Capacity int64 }

// state is which thresholds are met, and since when. It is pure: its clock is the
// caller's.
type state struct {
	since map[int]time.Time                      // by the threshold's place in the rules
	seen  map[corev1.NodeConditionType]time.Time // when a condition last had a cause
}

func newState() *state {
	return &state{since: map[int]time.Time{}, seen: map[corev1.NodeConditionType]time.Time{}}
}

// met is a threshold that is to evict now.
type met struct {
	threshold
	has Amount
}

// step takes in what there is now, and returns the thresholds that are to evict, in
// the order of the rules: memory first, hard before soft.
func (s *state) step(r *Rules, now time.Time, node map[Signal]Amount) (due []met) {
	for i, t := range r.thresholds {
		has, ok := node[t.signal]
		if !ok {
			delete(s.since, i)
			continue
		}
		wants := t.amount.of(has.Capacity)
		since, was := s.since[i]
		if was {
			wants += t.reclaim.of(has.Capacity)
		}
		if has.Available >= wants {
			delete(s.since, i)
			continue
		}
		if !was {
			since = now
			s.since[i] = now
		}
		s.seen[conditionOf(t.signal)] = now
		if now.Sub(since) >= t.grace {
			due = append(due, met{t, has})
		}
	}
	return due
}

// conditions returns which conditions hold: those with a cause now, or not long ago.
func (s *state) conditions(r *Rules, now time.Time) map[corev1.NodeConditionType]bool {
	out := map[corev1.NodeConditionType]bool{}
	for c, at := range s.seen {
		out[c] = s.caused(r, c) || now.Sub(at) < r.transition
	}
	return out
}

func (s *state) caused(r *Rules, c corev1.NodeConditionType) bool {
	for i := range s.since {
		if conditionOf(r.thresholds[i].signal) == c {
			return true
		}
	}
	return false
}

func conditionOf(s Signal) corev1.NodeConditionType {
	switch s {
	case Memory:
		return corev1.NodeMemoryPressure
	case Processes:
		return corev1.NodePIDPressure
	}
	return corev1.NodeDiskPressure
}
