package job

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Status checks what must hold of every Job's status.
func Status(j *batchv1.Job) (errs field.ErrorList) {
	at, s := field.NewPath("status"), &j.Status
	for _, c := range []struct {
		name string
		n    *int32
	}{{"active", &s.Active}, {"succeeded", &s.Succeeded}, {"failed", &s.Failed}, {"ready", s.Ready}, {"terminating", s.Terminating}} {
		if c.n != nil {
			errs = append(errs, apivalidation.ValidateNonnegativeField(int64(*c.n), at.Child(c.name))...)
		}
	}
	if u := s.UncountedTerminatedPods; u != nil {
		seen := map[types.UID]bool{}
		errs = append(errs, uncounted(u.Succeeded, seen, at.Child("uncountedTerminatedPods", "succeeded"))...)
		errs = append(errs, uncounted(u.Failed, seen, at.Child("uncountedTerminatedPods", "failed"))...)
	}
	return errs
}

func uncounted(all []types.UID, seen map[types.UID]bool, at *field.Path) (errs field.ErrorList) {
	for i, uid := range all {
		switch {
		case uid == "":
			errs = append(errs, field.Invalid(at.Index(i), uid, "must not be empty"))
		case seen[uid]:
			errs = append(errs, field.Duplicate(at.Index(i), uid))
		}
		seen[uid] = true
	}
	return errs
}

// facts are what a status says of the Job's end.
type facts struct{ complete, failed, failing, succeeding bool }

func (f facts) finished() bool { return f.complete || f.failed }

func factsOf(s *batchv1.JobStatus) facts {
	is := func(t batchv1.JobConditionType) bool {
		for _, c := range s.Conditions {
			if c.Type == t {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	}
	return facts{is(batchv1.JobComplete), is(batchv1.JobFailed), is(batchv1.JobFailureTarget), is(batchv1.JobSuccessCriteriaMet)}
}

// update is one status that follows another.
type update struct {
	next, old *batchv1.Job
	now, was  facts
	at        *field.Path
	errs      field.ErrorList
}

// StatusUpdate returns why next's status may not follow old's.
func StatusUpdate(next, old *batchv1.Job) field.ErrorList {
	u := &update{next: next, old: old, now: factsOf(&next.Status), was: factsOf(&old.Status), at: field.NewPath("status")}
	u.forward()
	u.conditions()
	u.times()
	u.pods()
	u.indexes()
	return u.errs
}

// refuse notes a fault of a field, or of the conditions.
func (u *update) refuse(name string, value any, why string) {
	if name == "conditions" {
		value = field.OmitValueType{}
	}
	u.errs = append(u.errs, field.Invalid(u.at.Child(name), value, why))
}

// forward checks what never goes back.
func (u *update) forward() {
	for _, c := range []struct {
		name     string
		was, now bool
	}{
		{"Complete", u.was.complete, u.now.complete}, {"Failed", u.was.failed, u.now.failed},
		{"FailureTarget", u.was.failing, u.now.failing}, {"SuccessCriteriaMet", u.was.succeeding, u.now.succeeding},
	} {
		if c.was && !c.now {
			u.refuse("conditions", nil, fmt.Sprintf("cannot disable the terminal %s=True condition", c.name))
		}
	}
	now, was, spec := &u.next.Status, &u.old.Status, &u.next.Spec
	if now.Failed < was.Failed {
		u.refuse("failed", now.Failed, "cannot decrease the failed counter")
	}
	elastic := indexed(spec) && equality.Semantic.DeepEqual(spec.Completions, spec.Parallelism) // it may be scaled down
	if now.Succeeded < was.Succeeded && !elastic {
		u.refuse("succeeded", now.Succeeded, "cannot decrease the succeeded counter")
	}
}

// conditions checks that those of the end agree.
func (u *update) conditions() {
	now := u.now
	if now == u.was {
		return
	}
	for _, c := range []struct {
		wrong bool
		why   string
	}{
		{now.complete && now.failed, "cannot set Complete=True and Failed=true conditions"},
		{now.complete && now.failing, "cannot set Complete=True and FailureTarget=true conditions"},
		{now.succeeding && now.failing, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"},
		{now.succeeding && now.failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"},
		{now.failed && !now.failing, "cannot set Failed=True condition without the FailureTarget=true condition"},
		{now.complete && !now.succeeding, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"},
	} {
		if c.wrong {
			u.refuse("conditions", nil, c.why)
		}
	}
}

func (u *update) times() {
	now, was := &u.next.Status, &u.old.Status
	started, ended := !now.StartTime.Equal(was.StartTime), !now.CompletionTime.Equal(was.CompletionTime)
	if started && was.StartTime != nil && (u.next.Spec.Suspend == nil || !*u.next.Spec.Suspend) {
		u.errs = append(u.errs, field.Required(u.at.Child("startTime"), "startTime cannot be changed or removed for unsuspended job"))
	}
	if ended && was.CompletionTime != nil && now.CompletionTime != nil {
		u.refuse("completionTime", now.CompletionTime, "completionTime cannot be mutated")
	}
	if (started || u.now.finished() != u.was.finished()) && u.now.finished() && now.StartTime == nil {
		u.errs = append(u.errs, field.Required(u.at.Child("startTime"), "startTime is required for finished job"))
	}
	if (started || ended) && now.StartTime != nil && now.CompletionTime != nil && now.CompletionTime.Before(now.StartTime) {
		u.refuse("completionTime", now.CompletionTime, "completionTime cannot be set before startTime")
	}
	if !ended && u.now.complete == u.was.complete {
		return
	}
	switch {
	case now.CompletionTime != nil && !u.now.complete:
		u.refuse("completionTime", now.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
	case now.CompletionTime == nil && u.now.complete:
		u.errs = append(u.errs, field.Required(u.at.Child("completionTime"), "completionTime is required for Complete jobs"))
	}
}

// pods checks the counters of pods that live: a Job that has finished has none.
func (u *update) pods() {
	now, was := &u.next.Status, &u.old.Status
	ends := u.now.finished() && !u.was.finished()
	if (ends || now.Active != was.Active) && u.now.finished() && now.Active > 0 {
		u.refuse("active", now.Active, "active>0 is invalid for finished job")
	}
	dying := !equality.Semantic.DeepEqual(now.Terminating, was.Terminating)
	if n := now.Terminating; (ends || dying) && u.now.finished() && n != nil && *n > 0 {
		u.refuse("terminating", *n, "terminating>0 is invalid for finished job")
	}
	moved := !equality.Semantic.DeepEqual(now.UncountedTerminatedPods, was.UncountedTerminatedPods)
	if p := now.UncountedTerminatedPods; (ends || moved) && u.now.finished() && p != nil && len(p.Succeeded)+len(p.Failed) > 0 {
		u.refuse("uncountedTerminatedPods", p, "uncountedTerminatedPods needs to be empty for finished job")
	}
	ready := !equality.Semantic.DeepEqual(now.Ready, was.Ready)
	if n := now.Ready; (ready || now.Active != was.Active) && n != nil && *n > now.Active {
		u.refuse("ready", *n, "cannot set more ready pods than active")
	}
}

// indexes checks which completion indexes are said to have ended.
func (u *update) indexes() {
	now, was, spec := &u.next.Status, &u.old.Status, &u.next.Spec
	won, lost := now.CompletedIndexes != was.CompletedIndexes, !equality.Semantic.DeepEqual(now.FailedIndexes, was.FailedIndexes)
	var completed, failed []Span
	fault := ""
	if won && now.CompletedIndexes != "" && !indexed(spec) {
		u.refuse("completedIndexes", now.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if lost && now.FailedIndexes != nil && spec.BackoffLimitPerIndex == nil {
		u.refuse("failedIndexes", *now.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if spec.Completions == nil {
		return
	}
	if now.CompletedIndexes != "" {
		if completed, fault = Indexes(now.CompletedIndexes, *spec.Completions); won && fault != "" {
			u.refuse("completedIndexes", now.CompletedIndexes, "error parsing completedIndexes: "+fault)
		}
	}
	if now.FailedIndexes == nil || *now.FailedIndexes == "" {
		return
	}
	if failed, fault = Indexes(*now.FailedIndexes, *spec.Completions); lost && fault != "" && spec.BackoffLimitPerIndex != nil {
		u.refuse("failedIndexes", *now.FailedIndexes, "error parsing failedIndexes: "+fault)
	}
	if i, both := shared(completed, failed); both && (won || lost) {
		u.refuse("failedIndexes", *now.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", i))
	}
}

func indexed(s *batchv1.JobSpec) bool {
	return s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion
}
