package swarm

import (
	"math"
	"time"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
)

// restartAt says when a task may take the place of the last one that ended in the slot;
// false: never, until the service is changed.
func (s *step) restartAt(sl *slot) (time.Time, bool) {
	last := sl.ended[len(sl.ended)-1]
	if s.old(last) {
		return time.Time{}, true
	}
	p := s.svc.Spec.TaskTemplate.RestartPolicy
	if p == nil {
		p = &swarm.RestartPolicy{}
	}
	failed := last.head.Phase == corev1.PodFailed
	onFailure := p.Condition == swarm.RestartPolicyConditionOnFailure || s.svc.Job()
	if p.Condition == swarm.RestartPolicyConditionNone || onFailure && !failed {
		return time.Time{}, false
	}
	if p.MaxAttempts != nil && *p.MaxAttempts > 0 && s.attempts(sl, p.Window) > int(min(*p.MaxAttempts, attemptsMax)) {
		return time.Time{}, false
	}
	delay := defaultRestartDelay
	if p.Delay != nil {
		delay = *p.Delay
	}
	return ended(last).Add(delay), true
}

// defaultRestartDelay is how long a slot waits (Docker Engine API, RestartPolicy).
const defaultRestartDelay = 5 * time.Second

// attempts counts the tasks of this generation that ended in the slot, where there is a
// window those within it before the last one: the first of them is no attempt to start
// again.
func (s *step) attempts(sl *slot, window *time.Duration) (n int) {
	last := ended(sl.ended[len(sl.ended)-1])
	for _, t := range sl.ended {
		if s.old(t) {
			continue
		}
		if window == nil || *window <= 0 || last.Sub(ended(t)) < *window {
			n++
		}
	}
	return n
}

// ended returns when the task ended, as well as it is known.
func ended(t task) time.Time {
	if t.head.EndedAt.IsZero() {
		return t.head.Created
	}
	return t.head.EndedAt
}

// keep returns how many tasks a slot keeps, those that run included: as many as its
// restart policy has to count, at least, and the one by whose end the next one goes.
func (s *step) keep() int {
	if s.loop.history < 0 {
		return math.MaxInt
	}
	keep := max(int(s.loop.history), 2)
	if p := s.svc.Spec.TaskTemplate.RestartPolicy; p != nil && p.MaxAttempts != nil {
		keep = max(keep, int(min(*p.MaxAttempts, attemptsMax))+2)
	}
	return keep
}

// attemptsMax bounds the attempts that are counted: more are as many.
const attemptsMax = 1000
