package job

import (
	"math"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// controller is who speaks in events.
const controller = "job-controller"

// sync is one look at one Job: first it is decided what the status becomes and what is
// to be done with pods, then all of it is written, the Job's row first.
type sync struct {
	tx     *store.Tx
	rules  sow.Rules
	j      *job
	o      *batchv1.Job // as it stands
	fresh  bool         // its row was written in this very tick
	budget int
	now    metav1.Time
	st     batchv1.JobStatus // what it becomes

	completed, lost indexes // indexes that have succeeded, and that have failed for good
	finish          *batchv1.JobCondition
	verdict         string // of the pod failure policy; empty: the Job may go on
	held            map[int32]*failure
	cut             bool // more pods have ended than one look counts

	strip  []object.Key // pods that are counted
	kill   []object.Key // to delete and to count
	drop   []object.Key // to delete, not to count
	births []birth
	tells  []tell.Event
	at     time.Time
}

func (l *Loop) newSync(tx *store.Tx, j *job, o *batchv1.Job, budget int) *sync {
	s := &sync{tx: tx, rules: l.rules, j: j, o: o, budget: budget, now: metav1.NewTime(tx.Now().Truncate(time.Second)), held: map[int32]*failure{}}
	if row, ok := tables.Jobs.Row(tx, j.key); ok {
		s.fresh = row.Rev() == 0
	}
	s.st = *o.Status.DeepCopy()
	if s.st.UncountedTerminatedPods == nil {
		s.st.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	s.completed = parseIndexes(s.st.CompletedIndexes).below(s.completions())
	if s.st.FailedIndexes != nil {
		s.lost = parseIndexes(*s.st.FailedIndexes).below(s.completions())
	}
	return s
}

func (s *sync) run() {
	s.resume()
	s.flush()
	s.tally()
	if s.cut { // not before all that have ended are known
		s.count()
		return
	}
	s.judge()
	switch {
	case s.finish != nil:
		s.wind()
	case s.o.DeletionTimestamp == nil:
		s.manage()
	}
	s.count()
}

// apply writes what was decided and returns how many writes that took. A Job without
// a change is not written.
func (s *sync) apply() int {
	if !equality.Semantic.DeepEqual(s.st, s.o.Status) {
		next := *s.o // shallow: only the status is replaced
		next.Status = s.st
		tables.Jobs.Put(s.tx, &next)
	}
	for _, e := range s.tells {
		s.say(e.Type, e.Reason, e.Message)
	}
	for _, key := range s.strip {
		untrack(s.tx, key)
	}
	for _, key := range s.kill {
		reap.Delete(s.tx, tables.Pods, key, metav1.DeletePropagationBackground)
	}
	for _, key := range s.drop {
		untrack(s.tx, key)
		reap.Delete(s.tx, tables.Pods, key, metav1.DeletePropagationBackground)
	}
	return len(s.strip) + len(s.kill) + len(s.drop) + s.create()
}

func (s *sync) suspended() bool { return s.o.Spec.Suspend != nil && *s.o.Spec.Suspend }

// completions returns how many successes the Job asks for; the largest number where
// any success will do.
func (s *sync) completions() int32 {
	if s.o.Spec.Completions == nil {
		return math.MaxInt32
	}
	return *s.o.Spec.Completions
}

func (s *sync) parallelism() int32 {
	if s.o.Spec.Parallelism == nil {
		return 1
	}
	return *s.o.Spec.Parallelism
}

// succeeded returns how many pods have, or how many indexes.
func (s *sync) succeeded() int32 {
	if s.j.indexed {
		return s.completed.len()
	}
	return s.st.Succeeded + int32(len(s.st.UncountedTerminatedPods.Succeeded))
}

func (s *sync) failures() int32 {
	return s.st.Failed + int32(len(s.st.UncountedTerminatedPods.Failed)+len(s.held))
}

// waitsForEnd reports whether a pod is replaced only once it has ended.
func (s *sync) waitsForEnd() bool {
	p := s.o.Spec.PodReplacementPolicy
	return p != nil && *p == batchv1.Failed
}

// resume keeps the start time and the condition Suspended.
func (s *sync) resume() {
	switch c := condition(&s.st, batchv1.JobSuspended); {
	case s.suspended():
		if c == nil || c.Status != corev1.ConditionTrue {
			s.set(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended")
			s.tell(corev1.EventTypeNormal, "Suspended", "Job suspended")
		}
		return
	case c != nil && c.Status == corev1.ConditionTrue:
		s.set(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed")
		s.tell(corev1.EventTypeNormal, "Resumed", "Job resumed")
		s.st.StartTime = &s.now
	}
	if s.st.StartTime == nil {
		s.st.StartTime = &s.now
	}
}

func (s *sync) tell(kind, reason, message string) {
	s.tells = append(s.tells, tell.Event{Type: kind, Reason: reason, Message: message})
}

// condition returns the condition of the type, nil if the status has none.
func condition(st *batchv1.JobStatus, t batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == t {
			return &st.Conditions[i]
		}
	}
	return nil
}

func holds(st *batchv1.JobStatus, t batchv1.JobConditionType) *batchv1.JobCondition {
	if c := condition(st, t); c != nil && c.Status == corev1.ConditionTrue {
		return c
	}
	return nil
}

// finished returns the condition that ended the Job, nil where none has.
func finished(o *batchv1.Job) *batchv1.JobCondition {
	if c := holds(&o.Status, batchv1.JobComplete); c != nil {
		return c
	}
	return holds(&o.Status, batchv1.JobFailed)
}

// set writes a condition.
func (s *sync) set(t batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string) *batchv1.JobCondition {
	c := condition(&s.st, t)
	if c == nil {
		s.st.Conditions = append(s.st.Conditions, batchv1.JobCondition{Type: t})
		c = &s.st.Conditions[len(s.st.Conditions)-1]
	}
	c.Status, c.Reason, c.Message, c.LastProbeTime, c.LastTransitionTime = status, reason, message, s.now, s.now
	return c
}

// count writes the counters of pods that live.
func (s *sync) count() {
	c := s.j.count
	s.st.Active, s.st.Ready, s.st.Terminating = c.active-c.hidden, &c.ready, &c.terminating
	if s.j.indexed {
		s.st.Succeeded = s.completed.len()
		s.st.CompletedIndexes = s.completed.String()
		if s.o.Spec.BackoffLimitPerIndex != nil {
			text := s.lost.String()
			s.st.FailedIndexes = &text
		}
	}
}
