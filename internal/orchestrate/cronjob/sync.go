package cronjob

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/defaults"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/orchestrate/timetable"
	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// retryRefused is when a Job is tried again that was refused, if the quotas of its
// namespace do not change before.
const retryRefused = 15 * time.Second

// sync is one look at one CronJob.
type sync struct {
	tx   *store.Tx
	o    *batchv1.CronJob
	st   batchv1.CronJobStatus // what it becomes
	jobs []*batchv1.Job

	refused bool // a quota refused the Job that is due
}

func newSync(tx *store.Tx, o *batchv1.CronJob) *sync {
	return &sync{tx: tx, o: o, st: *o.Status.DeepCopy(), jobs: children(tx, o)}
}

// run does what is due and returns when to look again.
func (s *sync) run() (again time.Time) {
	s.follow()
	s.prune()
	if s.o.DeletionTimestamp == nil && (s.o.Spec.Suspend == nil || !*s.o.Spec.Suspend) {
		again = s.schedule()
	}
	if !equality.Semantic.DeepEqual(s.st, s.o.Status) {
		next := *s.o // shallow: only the status is replaced
		next.Status = s.st
		tables.CronJobs.Put(s.tx, &next)
	}
	return again
}

// ended returns how a Job has; empty: it has not.
func ended(j *batchv1.Job) batchv1.JobConditionType {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

// follow brings the list of active Jobs up to date, and when one last succeeded.
func (s *sync) follow() {
	was := map[types.UID]corev1.ObjectReference{}
	for _, ref := range s.st.Active {
		was[ref.UID] = ref
	}
	s.st.Active = nil
	for _, j := range s.jobs {
		how := ended(j)
		ref, known := was[j.UID]
		switch {
		case how == "" && known:
			s.st.Active = append(s.st.Active, ref)
		case how == "":
			s.st.Active = append(s.st.Active, reference(j))
		case known:
			s.tell(corev1.EventTypeNormal, "SawCompletedJob", fmt.Sprintf("Saw completed job: %s, condition: %s", j.Name, how))
		}
		if at := j.Status.CompletionTime; how == batchv1.JobComplete && at != nil && (s.st.LastSuccessfulTime == nil || at.After(s.st.LastSuccessfulTime.Time)) {
			s.st.LastSuccessfulTime = at.DeepCopy()
		}
		delete(was, j.UID)
	}
	for _, ref := range slices.SortedFunc(maps.Values(was), func(a, b corev1.ObjectReference) int { return cmp.Compare(a.Name, b.Name) }) {
		s.tell(corev1.EventTypeNormal, "MissingJob", fmt.Sprintf("Active job went missing: %s", ref.Name))
	}
}

func reference(j *batchv1.Job) corev1.ObjectReference {
	gvk := tables.Jobs.GVK()
	return corev1.ObjectReference{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Namespace: j.Namespace, Name: j.Name, UID: j.UID}
}

// prune deletes the oldest Jobs that have ended, beyond what is to be kept.
func (s *sync) prune() {
	for _, class := range []struct {
		how  batchv1.JobConditionType
		keep *int32
	}{{batchv1.JobComplete, s.o.Spec.SuccessfulJobsHistoryLimit}, {batchv1.JobFailed, s.o.Spec.FailedJobsHistoryLimit}} {
		if class.keep == nil {
			continue
		}
		var all []*batchv1.Job
		for _, j := range s.jobs {
			if ended(j) == class.how && j.DeletionTimestamp == nil {
				all = append(all, j)
			}
		}
		slices.SortFunc(all, func(a, b *batchv1.Job) int {
			return cmp.Or(began(a).Compare(began(b)), cmp.Compare(a.Name, b.Name))
		})
		for len(all) > int(*class.keep) {
			s.delete(all[0])
			all = all[1:]
		}
	}
}

func began(j *batchv1.Job) time.Time {
	if j.Status.StartTime != nil {
		return j.Status.StartTime.Time
	}
	return j.CreationTimestamp.Time
}

func (s *sync) delete(j *batchv1.Job) {
	if reap.Delete(s.tx, tables.Jobs, object.KeyOf(j), metav1.DeletePropagationBackground) {
		s.tell(corev1.EventTypeNormal, "SuccessfulDelete", fmt.Sprintf("Deleted job %s", j.Name))
	}
}

func (s *sync) tell(kind, reason, message string) {
	tell.About(s.tx, tables.CronJobs, s.o, tell.Event{From: "cronjob-controller", Type: kind, Reason: reason, Message: message})
}

// remark tells something that may be true for long: once.
func (s *sync) remark(kind, reason, message string) {
	tell.Once(s.tx, tables.CronJobs, s.o, tell.Event{From: "cronjob-controller", Type: kind, Reason: reason, Message: message})
}

// schedule starts the Job that is due, if one is, and returns when the next will be.
func (s *sync) schedule() (again time.Time) {
	plan, err := object.ParseSchedule(s.o.Spec.Schedule)
	zone := time.UTC
	if err == nil && s.o.Spec.TimeZone != nil {
		zone, err = object.ParseZone(*s.o.Spec.TimeZone)
	}
	if err != nil { // doors refuse it; a snapshot of another cluster may hold one
		s.remark(corev1.EventTypeWarning, "UnparseableSchedule", fmt.Sprintf("unparseable schedule %q: %s", s.o.Spec.Schedule, err))
		return again
	}
	now := s.tx.Now().In(zone)
	again = plan.Next(now)
	due, missed := timetable.Latest(plan, s.since().In(zone), now)
	if due.IsZero() {
		return again
	}
	deadline := s.o.Spec.StartingDeadlineSeconds
	if deadline != nil && due.Add(time.Duration(*deadline)*time.Second).Before(now) {
		s.remark(corev1.EventTypeWarning, "MissSchedule", fmt.Sprintf("Missed scheduled time to start a job: %s", due.UTC().Format(time.RFC1123Z)))
		return again
	}
	if s.o.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(s.st.Active) > 0 {
		s.remark(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return again
	}
	if reap.Terminating(s.tx, s.o.Namespace) {
		return again
	}
	if missed > timetable.MissedMax {
		s.tell(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	s.start(due)
	if at := s.tx.Now().Add(retryRefused); s.refused && at.Before(again) {
		again = at
	}
	return again
}

// since returns from when on times count: those after the last one used, or after the
// CronJob was made.
func (s *sync) since() time.Time {
	at := s.o.CreationTimestamp.Time
	if s.st.LastScheduleTime != nil {
		at = s.st.LastScheduleTime.Time
	}
	if d := s.o.Spec.StartingDeadlineSeconds; d != nil {
		if from := s.tx.Now().Add(-time.Duration(*d) * time.Second); from.After(at) {
			at = from
		}
	}
	return at
}

// start makes the Job of a time.
func (s *sync) start(due time.Time) {
	if s.o.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent {
		for _, j := range s.jobs {
			if ended(j) == "" {
				s.delete(j)
			}
		}
		s.st.Active = nil
	}
	at := metav1.NewTime(due.UTC())
	j := s.job(due)
	if _, taken := tables.Jobs.Row(s.tx, object.KeyOf(j)); taken {
		s.st.LastScheduleTime = &at
		s.tell(corev1.EventTypeWarning, "FailedCreate", fmt.Sprintf("Error creating job: jobs.batch %q already exists", j.Name))
		return
	}
	if err := policy.AllowNew(s.tx, tables.Jobs, j); err != nil {
		s.refused = true
		s.remark(corev1.EventTypeWarning, "FailedCreate", "Error creating job: "+err.Error())
		return
	}
	s.st.LastScheduleTime = &at
	tables.Jobs.Put(s.tx, j)
	s.st.Active = append(s.st.Active, reference(j))
	s.tell(corev1.EventTypeNormal, "SuccessfulCreate", fmt.Sprintf("Created job %s", j.Name))
}

// job returns the Job of a time.
func (s *sync) job(due time.Time) *batchv1.Job {
	t := s.o.Spec.JobTemplate.DeepCopy()
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.o.Namespace, Name: fmt.Sprintf("%s-%d", s.o.Name, due.Unix()/60), UID: s.tx.NewID(),
			Labels: t.Labels, Annotations: t.Annotations,
			OwnerReferences: []metav1.OwnerReference{object.ControllerRef(s.o, tables.CronJobs.GVK())},
		},
		Spec: t.Spec,
	}
	if j.Annotations == nil {
		j.Annotations = map[string]string{}
	}
	j.Annotations[batchv1.CronJobScheduledTimestampAnnotation] = due.Format(time.RFC3339)
	defaults.Job(j)
	defaults.CreatedJob(j)
	return j
}
