package mesos

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// step looks at the tasks of one Pod.
type step struct {
	loop *Tasks
	tx   *store.Tx
	f    *mesos.Framework
	pod  *corev1.Pod // nil: it is gone
}

// refuse says that somebody else took the room that the tasks' offers were of.
func (s *step) refuse(tasks []*mesos.Task) {
	c := object.PodCondition(s.pod, corev1.PodScheduled)
	for _, t := range tasks {
		status := t.Status(lost(s.f, mesosv1.TaskState_TASK_DROPPED), "Task launched with invalid offers: somebody else has taken the room meanwhile: "+c.Message, s.tx.Now())
		status.Reason = mesosv1.TaskStatus_REASON_INVALID_OFFERS.Enum()
		s.told(t, status)
	}
	s.delete(new(int64))
}

// told ends a task with a status that needs no acknowledgement.
func (s *step) told(t *mesos.Task, status *mesosv1.TaskStatus) {
	next := t.Clone()
	next.Append(status)
	next.Pending = nil
	s.complete(next)
	tables.MesosTasks.Put(s.tx, next)
	update(s.tx, t.Namespace, status)
}

// unreachable says of tasks whose agent is reached no more that they are, and reports
// whether there is no more to say. Those of frameworks that do not know partitions are lost.
func (s *step) unreachable(tasks []*mesos.Task) bool {
	agent := s.loop.known.agent(s.tx, tasks[0].Node)
	if agent != nil && (agent.Spec.Gone || agent.Spec.Down) {
		return s.gone(agent, tasks)
	}
	if agent == nil || agent.Status.Unreachable == nil {
		return false
	}
	told := false
	for _, t := range tasks {
		if t.Unreachable != nil || mesos.Terminal(t.State) {
			continue
		}
		status := t.Status(lost(s.f, mesosv1.TaskState_TASK_UNREACHABLE), "Agent is unreachable", s.tx.Now())
		status.Reason = mesosv1.TaskStatus_REASON_AGENT_REMOVED.Enum()
		nanos := agent.Status.Unreachable.UnixNano()
		status.UnreachableTime = &mesosv1.TimeInfo{Nanoseconds: &nanos}
		if told = true; mesos.Terminal(status.GetState()) {
			s.told(t, status)
			s.delete(nil) // it ends when its agent is back
			continue
		}
		next := t.Clone()
		next.Unreachable = agent.Status.Unreachable
		next.Append(status)
		next.Pending = nil
		tables.MesosTasks.Put(s.tx, next)
		update(s.tx, t.Namespace, status)
	}
	if told {
		failure(s.tx, s.f.Spec.ID, agent.Status.ID)
	}
	if kill := killOf(tasks); kill != nil && s.pod != nil {
		s.delete(graceOf(tasks)) // it ends when its agent is back, whichever manager leads then
	}
	return true
}

// gone says of tasks that the operator has given up their agent, or brought it down, where they
// have their time to end; false: all have ended, and only wait for their acknowledgements.
func (s *step) gone(agent *mesos.Agent, tasks []*mesos.Task) (told bool) {
	state, reason, message := mesosv1.TaskState_TASK_GONE_BY_OPERATOR, mesosv1.TaskStatus_REASON_AGENT_REMOVED_BY_OPERATOR, "Agent has been marked gone"
	grace := new(int64)
	if !agent.Spec.Gone {
		state, reason, message, grace = mesosv1.TaskState_TASK_GONE, mesosv1.TaskStatus_REASON_AGENT_REMOVED, "Agent is down for maintenance", nil
	}
	for _, t := range tasks {
		if mesos.Terminal(t.State) {
			continue
		}
		status := t.Status(lost(s.f, state), message, s.tx.Now())
		status.Reason = reason.Enum()
		s.told(t, status)
		told = true
	}
	if told {
		failure(s.tx, s.f.Spec.ID, agent.Status.ID)
		if s.pod != nil {
			s.delete(grace)
		}
	}
	return told
}

// follow tells the tasks what their Pod shows.
func (s *step) follow(tasks []*mesos.Task) {
	seen := mesos.Observer{Now: s.tx.Now(), Killing: s.f.Has(mesosv1.FrameworkInfo_Capability_TASK_KILLING_STATE)}
	over, ends, kill := true, false, killOf(tasks)
	for i, t := range tasks {
		next := s.back(t)
		if kill != nil && next.Kill == nil && !mesos.Terminal(next.State) {
			if next == t {
				next = t.Clone()
			}
			next.Kill = kill // the rest of its group
		}
		next = seen.Follow(next, s.pod)
		if mesos.Terminal(next.State) && len(next.Pending) == 0 && next.Completed == nil {
			if next == t {
				next = t.Clone()
			}
			s.complete(next)
		}
		if next != t {
			tables.MesosTasks.Put(s.tx, next)
			tasks[i] = next
		}
		over = over && next.Completed != nil
		ends = ends || mesos.Terminal(next.State) && next.State != mesosv1.TaskState_TASK_FINISHED || next.Kill != nil
	}
	switch {
	case s.pod == nil:
	case tasks[0].Custom:
		s.custom(tasks, over)
	case over:
		s.delete(new(int64))
	case ends && !object.PodEnded(s.pod):
		s.delete(graceOf(tasks))
	}
}

// custom does to the Pod of an executor of the framework's own what its tasks ask for: it
// gives back what those had that have ended, and goes when the executor is to, or could not
// be started.
func (s *step) custom(tasks []*mesos.Task, over bool) {
	ends := over && object.PodEnded(s.pod)
	var free resource.List
	for _, t := range tasks {
		ends = ends || t.Kill != nil && t.Kill.Shutdown
		if !mesos.Terminal(t.State) || t.Freed {
			continue
		}
		ends = ends || t.Statuses[len(t.Statuses)-1].GetReason() == mesosv1.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED
		list, err := resource.From("resources", t.Info.GetResources())
		if err != nil {
			continue // it was checked when it was launched
		}
		free = free.Plus(list)
		next := t.Clone()
		next.Freed = true
		tables.MesosTasks.Put(s.tx, next)
	}
	if ends {
		s.delete(nil)
		return
	}
	if pod, ok := tables.Pods.Get(s.tx, object.KeyOf(s.pod)); ok && len(free) > 0 && pod.DeletionTimestamp == nil && !object.PodEnded(pod) {
		if less, err := mesos.Resized(pod, free, -1); err == nil {
			tables.Pods.Put(s.tx, less)
		}
	}
}

// killOf returns why the rest of a group is to end: one of it was killed or has failed.
func killOf(tasks []*mesos.Task) *mesos.Kill {
	for _, t := range tasks {
		if t.Custom {
			return nil
		}
		if t.Kill != nil {
			return t.Kill
		}
	}
	if len(tasks) > 1 {
		for _, t := range tasks {
			if mesos.Terminal(t.State) && t.State != mesosv1.TaskState_TASK_FINISHED {
				return &mesos.Kill{}
			}
		}
	}
	return nil
}

// back says of a task whose agent was not reached that it is there again.
func (s *step) back(t *mesos.Task) *mesos.Task {
	if t.Unreachable == nil {
		return t
	}
	next := t.Clone()
	next.Unreachable = nil
	status := t.Status(mesosv1.TaskState_TASK_RUNNING, "Agent reregistered", s.tx.Now())
	status.Reason = mesosv1.TaskStatus_REASON_AGENT_REREGISTERED.Enum()
	next.Append(status)
	update(s.tx, t.Namespace, status)
	return next
}

// graceOf returns how many seconds the tasks' Pod gets to end; nil: what it says itself.
func graceOf(tasks []*mesos.Task) *int64 {
	var most *int64
	for _, t := range tasks {
		if t.Kill == nil || t.Kill.Grace == nil {
			continue
		}
		if n := int64(math.Ceil(max(*t.Kill.Grace, time.Second).Seconds())); most == nil || n > *most {
			most = &n
		}
	}
	return most
}

// delete deletes the Pod; nothing more happens to one that is ending within the time.
func (s *step) delete(grace *int64) {
	pod, ok := tables.Pods.Get(s.tx, object.KeyOf(s.pod))
	if !ok {
		return
	}
	next := pod.DeepCopy()
	remove, changed := object.Deletion{Now: s.tx.Now(), GraceSeconds: grace, Policy: metav1.DeletePropagationBackground}.Mark(next)
	switch {
	case remove:
		tables.Pods.Delete(s.tx, object.KeyOf(pod))
	case changed:
		tables.Pods.Put(s.tx, next)
	}
}
