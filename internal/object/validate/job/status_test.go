package job

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestStatusUpdate(t *testing.T) {
	at := func(minute int) *metav1.Time {
		return &metav1.Time{Time: time.Date(2030, 1, 1, 0, minute, 0, 0, time.UTC)}
	}
	with := func(types ...batchv1.JobConditionType) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			for _, c := range types {
				j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue})
			}
		}
	}
	complete := func(j *batchv1.Job) {
		with(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete)(j)
		j.Status.Active, j.Status.CompletionTime = 0, at(5)
	}
	indexed := func(perIndex bool) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			mode, n, limit := batchv1.IndexedCompletion, int32(10), int32(1)
			j.Spec.CompletionMode, j.Spec.Completions = &mode, &n
			if perIndex {
				j.Spec.BackoffLimitPerIndex = &limit
			}
		}
	}
	for name, tt := range map[string]struct {
		old, next func(*batchv1.Job) // next is made of old
		want      string             // part of the fault; empty: none
	}{
		"nothing":                  {nil, nil, ""},
		"counts":                   {nil, func(j *batchv1.Job) { j.Status.Active, j.Status.Succeeded, j.Status.Failed = 2, 1, 1 }, ""},
		"a condition of one's own": {nil, with("Own"), ""},
		"complete":                 {nil, complete, ""},
		"failed":                   {nil, func(j *batchv1.Job) { with(batchv1.JobFailureTarget, batchv1.JobFailed)(j); j.Status.Active = 0 }, ""},
		"complete at once": {nil, func(j *batchv1.Job) {
			with(batchv1.JobComplete)(j)
			j.Status.Active, j.Status.CompletionTime = 0, at(5)
		}, "without the SuccessCriteriaMet"},
		"failed at once":          {nil, func(j *batchv1.Job) { with(batchv1.JobFailed)(j); j.Status.Active = 0 }, "without the FailureTarget"},
		"both":                    {nil, with(batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget), "SuccessCriteriaMet=True and FailureTarget=true"},
		"complete and failed":     {complete, with(batchv1.JobFailed), "Complete=True and Failed=true"},
		"complete without a time": {nil, func(j *batchv1.Job) { complete(j); j.Status.CompletionTime = nil }, "completionTime: Required"},
		"a time before it is":     {nil, func(j *batchv1.Job) { j.Status.CompletionTime = at(5) }, "no Complete=True"},
		"before the start":        {nil, func(j *batchv1.Job) { complete(j); j.Status.CompletionTime = at(0) }, "before startTime"},
		"another time":            {complete, func(j *batchv1.Job) { j.Status.CompletionTime = at(6) }, "cannot be mutated"},
		"with active pods":        {nil, func(j *batchv1.Job) { complete(j); j.Status.Active = 1 }, "active>0"},
		"with terminating pods":   {nil, func(j *batchv1.Job) { complete(j); j.Status.Terminating = new(int32(1)) }, "terminating>0"},
		"with uncounted pods": {nil, func(j *batchv1.Job) {
			complete(j)
			j.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Failed: []types.UID{"u"}}
		}, "needs to be empty"},
		"without a start":                {func(j *batchv1.Job) { j.Status.StartTime = nil }, complete, "startTime: Required"},
		"undone":                         {complete, func(j *batchv1.Job) { j.Status.Conditions = j.Status.Conditions[:1]; j.Status.CompletionTime = nil }, "cannot disable the terminal Complete=True"},
		"criteria undone":                {with(batchv1.JobSuccessCriteriaMet), func(j *batchv1.Job) { j.Status.Conditions = nil }, "cannot disable the terminal SuccessCriteriaMet=True"},
		"fewer failed":                   {func(j *batchv1.Job) { j.Status.Failed = 2 }, func(j *batchv1.Job) { j.Status.Failed = 1 }, "decrease the failed counter"},
		"fewer succeeded":                {func(j *batchv1.Job) { j.Status.Succeeded = 2 }, func(j *batchv1.Job) { j.Status.Succeeded = 1 }, "decrease the succeeded counter"},
		"another start":                  {nil, func(j *batchv1.Job) { j.Status.StartTime = at(3) }, "unsuspended job"},
		"another start, suspended":       {func(j *batchv1.Job) { j.Spec.Suspend = new(true) }, func(j *batchv1.Job) { j.Status.StartTime = at(3) }, ""},
		"more ready than active":         {nil, func(j *batchv1.Job) { j.Status.Ready = new(int32(2)) }, "more ready pods than active"},
		"indexes":                        {indexed(true), func(j *batchv1.Job) { j.Status.CompletedIndexes, j.Status.FailedIndexes = "0-3,5", new("4,9") }, ""},
		"indexes without the mode":       {nil, func(j *batchv1.Job) { j.Status.CompletedIndexes = "0" }, "non-indexed completion mode"},
		"failed without a limit":         {indexed(false), func(j *batchv1.Job) { j.Status.FailedIndexes = new("1") }, "backoffLimitPerIndex is null"},
		"index too large":                {indexed(true), func(j *batchv1.Job) { j.Status.CompletedIndexes = "3-10" }, "too large index"},
		"indexes that are no list":       {indexed(true), func(j *batchv1.Job) { j.Status.FailedIndexes = new("x") }, "cannot convert"},
		"indexes in no order":            {indexed(true), func(j *batchv1.Job) { j.Status.CompletedIndexes = "3,1" }, "non-increasing"},
		"indexes in both":                {indexed(true), func(j *batchv1.Job) { j.Status.CompletedIndexes, j.Status.FailedIndexes = "0-3,5-6", new("4,6-7") }, "overlap at index: 6"},
		"what was wrong before may stay": {func(j *batchv1.Job) { j.Status.CompletedIndexes, j.Status.Ready = "x", new(int32(9)) }, func(j *batchv1.Job) { j.Status.Failed++ }, ""},
	} {
		old := &batchv1.Job{Status: batchv1.JobStatus{StartTime: at(1), Active: 1}}
		if tt.old != nil {
			tt.old(old)
		}
		next := old.DeepCopy()
		if tt.next != nil {
			tt.next(next)
		}
		got := ""
		if err := StatusUpdate(next, old).ToAggregate(); err != nil {
			got = err.Error()
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		status batchv1.JobStatus
		want   string
	}{
		"fine":               {batchv1.JobStatus{Active: 1, UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{Succeeded: []types.UID{"a"}, Failed: []types.UID{"b"}}}, ""},
		"a negative count":   {batchv1.JobStatus{Failed: -1}, "status.failed: Invalid"},
		"a negative pointer": {batchv1.JobStatus{Ready: new(int32(-1))}, "status.ready: Invalid"},
		"counted twice":      {batchv1.JobStatus{UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{Succeeded: []types.UID{"a"}, Failed: []types.UID{"a"}}}, "failed[0]: Duplicate"},
		"nobody":             {batchv1.JobStatus{UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{Succeeded: []types.UID{""}}}, "succeeded[0]: Invalid"},
	} {
		got := ""
		if err := Status(&batchv1.Job{Status: tt.status}).ToAggregate(); err != nil {
			got = err.Error()
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// FuzzIndexes: what is read of any text is in order and below the number of completions.
func FuzzIndexes(f *testing.F) {
	for _, s := range []string{"", "1", "1,3-5", "0-9", "5-3", "1,,2", "-1", "9999999999", "1-2-3"} {
		f.Add(s, int32(10))
	}
	f.Fuzz(func(t *testing.T, text string, completions int32) {
		runs, fault := Indexes(text, completions)
		last := int32(-1)
		for _, r := range runs {
			if r.First <= last || r.Last < r.First || r.Last >= completions {
				t.Fatalf("%q of %d: %v (%s)", text, completions, runs, fault)
			}
			last = r.Last
		}
	})
}
