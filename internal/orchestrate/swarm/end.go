package swarm

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/tables"
)

// misplaced is why a task ends whose node has changed (swarmkit, constraint
// enforcement).
const misplaced = "assigned node no longer meets constraints"

// remove takes a task away: it ends, and nothing tells of it.
func (s *step) remove(t task) {
	if reap.Delete(s.tx, tables.Pods, t.key, metav1.DeletePropagationBackground) {
		s.room--
	}
}

// retire ends a task that stays as history, and says why it was rejected, if it was. At
// once no core Service selects it any more, and its agent ends it within its grace: its
// deadline has passed. Where no agent has it, nothing is worth to be told.
func (s *step) retire(t task, rejected string) {
	pod, ok := tables.Pods.Get(s.tx, t.key)
	if !ok {
		return
	}
	if n, ok := tables.Nodes.Get(s.tx, object.Key{Name: t.head.Node}); !ok || !object.NodeReady(n) {
		s.remove(t)
		return
	}
	next := pod.DeepCopy()
	delete(next.Labels, ours.ServiceLabel)
	next.Labels[ours.DesiredLabel] = ours.Shutdown
	if rejected != "" {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, ours.ReasonAnnotation, rejected)
	}
	deadline := int64(1) // the least there is
	next.Spec.ActiveDeadlineSeconds = &deadline
	next.Generation++
	tables.Pods.Put(s.tx, next)
	s.room--
}

// retireAll ends those of a slot's tasks that are chosen.
func (s *step) retireAll(sl *slot, chosen func(task) (rejected string, yes bool)) {
	sl.live = slices.DeleteFunc(sl.live, func(t task) bool {
		rejected, yes := chosen(t)
		if yes {
			s.retire(t, rejected)
			sl.going = append(sl.going, t)
		}
		return yes
	})
}

// leave ends the tasks that may not stay where they are: on a node that is drained, and
// on one that takes new tasks and does not meet the constraints any more.
func (s *step) leave() {
	verdicts := map[string]func(task) (string, bool){}
	verdict := func(node string) func(task) (string, bool) {
		v, ok := verdicts[node]
		if !ok {
			v = s.verdict(node)
			verdicts[node] = v
		}
		return v
	}
	for _, sl := range s.some(func(sl *slot) bool {
		return slices.ContainsFunc(sl.live, func(t task) bool { return verdict(t.head.Node) != nil })
	}) {
		s.retireAll(sl, func(t task) (string, bool) {
			if v := verdict(t.head.Node); v != nil {
				return v(t)
			}
			return "", false
		})
	}
}

// verdict says what becomes of tasks on the node; nil: they stay.
func (s *step) verdict(name string) func(task) (string, bool) {
	n, ok := tables.Nodes.Get(s.tx, object.Key{Name: name})
	switch {
	case !ok:
		return nil
	case ours.Drained(n):
		if s.svc.Orderly() {
			return nil
		}
		return func(task) (string, bool) { return "", true }
	case mayRun(n) && !s.placement.Fits(n):
		return func(task) (string, bool) { return misplaced, true }
	}
	return nil
}

// move ends the tasks that are to leave their nodes as an update would, where no update is about.
func (s *step) move(wanted []string, u *ours.Update) {
	if !s.svc.Orderly() && !s.moves || u != nil && u.Completed == nil && !paused(u) {
		return
	}
	s.replace(wanted, s.svc.Rules(), s.leaves)
}

// leaves reports whether the task is to leave its node by the rules of an update: somebody wants it
// moved, or its node is drained and the service's user wants that order.
func (s *step) leaves(t task) bool { return moves(t.head) || s.svc.Orderly() && s.drained(t) }

func moves(h *tables.PodHead) bool { return h.Labels[ours.DesiredLabel] == ours.Move }

// drained reports whether the task is on a node that is drained.
func (s *step) drained(t task) bool {
	n, ok := tables.Nodes.Get(s.tx, object.Key{Name: t.head.Node})
	return ok && ours.Drained(n)
}

// some returns the slots that are chosen, in order.
func (s *step) some(chosen func(*slot) bool) (out []*slot) {
	for _, sl := range s.slots {
		if chosen(sl) {
			out = append(out, sl)
		}
	}
	slices.SortFunc(out, func(a, b *slot) int { return byNumber(a.name, b.name) })
	return out
}

// drop ends the tasks of slots that are not wanted. Their history goes with them, but
// that of a node that is there.
func (s *step) drop(wanted []string) {
	is := set(wanted)
	for _, sl := range s.some(func(sl *slot) bool { return !is[sl.name] }) {
		if s.svc.PerNode() && s.known[sl.name] {
			s.retireAll(sl, func(task) (string, bool) { return "", true })
			continue
		}
		for _, t := range slices.Concat(sl.live, sl.going, sl.ended, sl.kept) {
			s.remove(t)
		}
		delete(s.slots, sl.name)
	}
}

// forget takes away what slots have more than their history: the oldest first.
func (s *step) forget() {
	keep := s.keep()
	over := func(sl *slot) int {
		return len(sl.ended) + len(sl.kept) + max(len(sl.live)+len(sl.going), 1) - keep
	}
	for _, sl := range s.some(func(sl *slot) bool { return over(sl) > 0 }) {
		history := slices.Concat(sl.ended, sl.kept)
		slices.SortFunc(history, older)
		for _, t := range history[:min(over(sl), len(history))] {
			s.remove(t)
		}
	}
}

// mayRun reports whether the node takes new tasks.
func mayRun(n *corev1.Node) bool {
	for i := range n.Spec.Taints {
		if n.Spec.Taints[i].Effect != corev1.TaintEffectPreferNoSchedule {
			return false
		}
	}
	return !n.Spec.Unschedulable && n.DeletionTimestamp == nil
}
