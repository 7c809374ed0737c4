package swarm

import (
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/rollout"
	"trireme/internal/tables"
)

// update replaces old tasks by new ones as far as the service's rules allow, and
// returns how the update stands. Nil: there was none.
func (s *step) update(wanted []string) *ours.Update {
	u := s.begin(wanted)
	if u == nil || u.Completed != nil {
		return u
	}
	rules := s.svc.Rules()
	if rules.FailureAction != swarm.UpdateFailureActionContinue {
		if bad, n := s.failures(u, rules.Monitor); float32(n) > rules.MaxFailureRatio*float32(u.Slots) {
			return s.fail(u, rules, bad)
		}
	}
	if paused(u) {
		return u
	}
	s.replace(wanted, rules, func(t task) bool { return s.old(t) || s.leaves(t) })
	return s.complete(u, wanted, rules)
}

// replace takes the next step from tasks that are old to new ones.
func (s *step) replace(wanted []string, rules swarm.UpdateConfig, old func(task) bool) {
	places, order := s.places(wanted, rules, old)
	moves := rollout.Replace(policy(rules, len(places)), places)
	for _, i := range moves.End {
		s.retireAll(s.slots[order[i]], func(t task) (string, bool) { return "", old(t) })
	}
	for _, i := range moves.Start {
		s.start(s.slots[order[i]])
	}
}

// begin notes an update that has tasks to replace.
func (s *step) begin(wanted []string) *ours.Update {
	var u *ours.Update
	if was := s.svc.Status.Update; was != nil {
		u = &ours.Update{}
		*u = *was
	}
	written := s.svc.ObjectMeta.Generation
	if again := u != nil && paused(u) && u.Seen != written; u != nil && u.Generation == s.current && !again {
		if u.Completed == nil {
			u.Seen = written
		}
		return u
	}
	var dirty int32
	for _, name := range wanted {
		if slices.ContainsFunc(s.slots[name].live, s.old) {
			dirty++
		}
	}
	back := u != nil && u.State == swarm.UpdateStateRollbackStarted && s.svc.Rollback // it may have lost all it had replaced
	if dirty == 0 && !back {
		return u
	}
	next := &ours.Update{State: swarm.UpdateStateUpdating, Message: "update in progress", Started: s.now(), Slots: dirty, Generation: s.current, Seen: written}
	if !s.svc.Rollback {
		return next
	}
	next.State, next.Message = swarm.UpdateStateRollbackStarted, "rollback in progress"
	if back {
		next.Message = u.Message // why it goes back
	}
	return next
}

func (s *step) now() metav1.Time { return metav1.NewTime(s.tx.Now().Truncate(time.Second)) }

func (s *step) old(t task) bool { return t.head.Labels[s.label] != s.current }

func paused(u *ours.Update) bool {
	return u.State == swarm.UpdateStatePaused || u.State == swarm.UpdateStateRollbackPaused
}

// policy maps the service's words to the engine's.
func policy(r swarm.UpdateConfig, slots int) rollout.Policy {
	n := int(min(r.Parallelism, uint64(slots)))
	if n == 0 {
		n = max(slots, 1)
	}
	if r.Order == swarm.UpdateOrderStartFirst {
		return rollout.Policy{Desired: slots, Surge: n}
	}
	return rollout.Policy{Desired: slots, Unavailable: n, Parallelism: n}
}

// places shows slots to the engine. A new task is available when it has run for the
// delay, so that every worker waits for it before it takes another slot.
func (s *step) places(wanted []string, r swarm.UpdateConfig, old func(task) bool) (places []rollout.Place, order []string) {
	for _, name := range wanted {
		sl, p := s.slots[name], rollout.Place{}
		for _, t := range sl.going {
			if old(t) && s.blocked(sl) {
				p.Old = rollout.Ending
			}
		}
		for _, t := range sl.live {
			switch {
			case !old(t):
				p.New = s.stand(t, r.Delay)
			case t.head.Ready:
				p.Old = rollout.Available
			default:
				p.Old = rollout.Coming
			}
		}
		places, order = append(places, p), append(order, name)
	}
	return places, order
}

func (s *step) stand(t task, delay time.Duration) rollout.Stand {
	if !t.head.Ready {
		return rollout.Coming
	}
	if at := t.head.ReadySince.Add(delay + clockStep); delay > 0 && s.tx.Now().Before(at) {
		s.wake(at)
		return rollout.Coming
	}
	return rollout.Available
}

// failures counts the new tasks that did not run, or not longer than they were watched,
// and returns the last of them.
func (s *step) failures(u *ours.Update, monitor time.Duration) (last task, n int) {
	for _, sl := range s.slots {
		for _, t := range sl.ended {
			if !s.old(t) && !t.head.Created.Before(u.Started.Time) && s.fell(t, monitor) {
				n++
				if n == 1 || older(last, t) < 0 {
					last = t
				}
			}
		}
	}
	return last, n
}

// clockStep is how coarse the times are that a pod's status tells.
const clockStep = time.Second

// fell reports whether the task never ran, as its health check says where it has one, or
// no longer than it was watched.
func (s *step) fell(t task, monitor time.Duration) bool {
	pod, ok := tables.Pods.Get(s.tx, t.key)
	if !ok || len(pod.Status.ContainerStatuses) == 0 {
		return true
	}
	end := pod.Status.ContainerStatuses[0].State.Terminated
	if end == nil || end.StartedAt.IsZero() {
		return true
	}
	if object.HealthChecked(pod, &pod.Spec.Containers[0]) { // it was ready if that changed after it had started
		if c := object.PodCondition(pod, corev1.PodReady); c == nil || !c.LastTransitionTime.After(end.StartedAt.Time) {
			return true
		}
	}
	return end.FinishedAt.Sub(end.StartedAt.Time) < monitor+clockStep
}

// fail stops the update or goes back, as its rules say. A rollback that fails only
// stops.
func (s *step) fail(u *ours.Update, r swarm.UpdateConfig, bad task) *ours.Update {
	if paused(u) {
		return u
	}
	id := ours.ID(bad.head.UID)
	back := r.FailureAction == swarm.UpdateFailureActionRollback && !s.svc.Rollback && s.svc.PreviousSpec != nil
	switch {
	case s.svc.Rollback:
		u.State, u.Message = swarm.UpdateStateRollbackPaused, fmt.Sprintf("rollback paused due to failure or early termination of task %s", id)
	case back:
		u.State, u.Message = swarm.UpdateStateRollbackStarted, fmt.Sprintf("update rolled back due to failure or early termination of task %s", id)
		tables.SwarmBack(s.tx, s.key)
	default:
		u.State, u.Message = swarm.UpdateStatePaused, fmt.Sprintf("update paused due to failure or early termination of task %s", id)
	}
	return u
}

// complete notes the end of an update: every slot has a new task that runs, and the
// last one was watched.
func (s *step) complete(u *ours.Update, wanted []string, r swarm.UpdateConfig) *ours.Update {
	watched := r.Monitor
	if r.Delay >= watched {
		watched = r.Delay + time.Second
	}
	var until time.Time
	for _, name := range wanted {
		sl := s.slots[name]
		if len(sl.live) == 0 && (len(sl.ended) == 0 || s.old(sl.ended[len(sl.ended)-1])) {
			return u // its new task is still to come
		}
		for _, t := range sl.live {
			if s.old(t) || !t.head.Ready {
				return u
			}
			if at := t.head.ReadySince.Add(watched + clockStep); at.After(until) {
				until = at
			}
		}
	}
	if r.FailureAction != swarm.UpdateFailureActionContinue && s.tx.Now().Before(until) {
		s.wake(until)
		return u
	}
	now := s.now()
	u.State, u.Message, u.Completed = swarm.UpdateStateCompleted, "update completed", &now
	if s.svc.Rollback {
		u.State, u.Message = swarm.UpdateStateRollbackCompleted, "rollback completed"
	}
	return u
}

// write writes how the service stands, if that is news.
func (s *step) write(st ours.Status) error {
	if equality.Semantic.DeepEqual(s.svc.Status, st) {
		return nil
	}
	return tables.PutStatus(s.tx, tables.SwarmKey(s.key), &st)
}
