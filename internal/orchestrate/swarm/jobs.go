package swarm

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ours "trireme/internal/object/swarm"
	"trireme/internal/orchestrate/timetable"
)

// runJob is run of a job. Each slot is to have a task of this iteration that succeeded;
// as many slots as its user allows are at it at once. Tasks of iterations before end, and
// what they were stays as history.
func (s *step) runJob() error {
	st := s.jobStatus()
	s.gather()
	for _, sl := range s.some(func(sl *slot) bool { return slices.ContainsFunc(sl.live, s.old) }) {
		s.stop(sl)
	}
	wanted := s.jobSlots()
	if s.svc.PerNode() {
		s.drop(wanted)
	}
	s.leave()
	active := 0
	if !st.Waits {
		active = s.work(wanted)
	}
	s.forget()
	s.rerun(st, active > 0)
	return s.write(ours.Status{Job: st})
}

// jobStatus returns how the job stands, in its present iteration.
func (s *step) jobStatus() *ours.JobStatus {
	st := &ours.JobStatus{}
	if s.svc.Status.Job != nil {
		*st = *s.svc.Status.Job
	}
	if n := s.svc.Iteration(); s.svc.Status.Job == nil || st.Iteration != n {
		_, scheduled := s.svc.Spec.Labels[ours.ScheduleLabel]
		st.Iteration, st.LastExecution, st.Waits = n, s.now(), scheduled
	}
	return st
}

// stop takes away the tasks of iterations before that run: nothing tells of them, as in
// swarm.
func (s *step) stop(sl *slot) {
	sl.live = slices.DeleteFunc(sl.live, func(t task) bool {
		if !s.old(t) {
			return false
		}
		s.remove(t)
		sl.going = append(sl.going, t)
		return true
	})
}

// jobSlots returns the slots that are to have a task that is done, in order.
func (s *step) jobSlots() (names []string) {
	if s.svc.PerNode() {
		return s.wantedNodes()
	}
	_, total := s.svc.Completions()
	for i := range total {
		names = append(names, strconv.Itoa(i))
	}
	return names
}

// work starts tasks, and returns how many slots have one that runs or is to.
func (s *step) work(wanted []string) (active int) {
	concurrent := len(wanted)
	if !s.svc.PerNode() {
		concurrent, _ = s.svc.Completions()
	}
	var free []string
	for _, name := range wanted {
		switch sl := s.slots[name]; {
		case sl == nil:
			free = append(free, name)
		case len(sl.live) > 0 || s.blocked(sl):
			active++
		case len(sl.ended) == 0 || s.old(sl.ended[len(sl.ended)-1]):
			free = append(free, name)
		case !slices.ContainsFunc(sl.ended, s.done):
			if _, again := s.restartAt(sl); again {
				active++
				s.fill(sl)
			}
		}
	}
	for _, name := range free {
		if active >= concurrent {
			break
		}
		active++
		s.fill(s.slot(name))
	}
	return active
}

// done reports whether the task is the one that its slot is to have.
func (s *step) done(t task) bool { return !s.old(t) && t.head.Phase == corev1.PodSucceeded }

// rerun begins another iteration when the job's schedule says so. While one is at work its
// times pass; the last of them is made up for when it is done.
func (s *step) rerun(st *ours.JobStatus, active bool) {
	plan, err := s.svc.Schedule()
	if err != nil { // doors refuse it
		s.warn("UnparseableSchedule", err.Error())
		return
	}
	if plan == nil {
		return
	}
	now := s.tx.Now()
	due, _ := timetable.Latest(plan, st.LastExecution.Time, now)
	switch {
	case due.IsZero():
		if at := plan.Next(st.LastExecution.Time); !at.IsZero() {
			s.wake(at)
		}
	case !active:
		st.Reruns, st.Iteration, st.LastExecution, st.Waits = st.Reruns+1, st.Iteration+1, metav1.NewTime(due), false
	}
}
