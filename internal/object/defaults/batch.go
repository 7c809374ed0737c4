package defaults

import (
	"maps"
	"math"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// batch defaults what runs to an end, or what scales others; false: another kind.
func batch(o runtime.Object) bool {
	switch o := o.(type) {
	case *batchv1.Job:
		Job(o)
	case *batchv1.CronJob:
		CronJob(o)
	case *autoscalingv2.HorizontalPodAutoscaler:
		HorizontalPodAutoscaler(o)
	default:
		return false
	}
	return true
}

// Job defaults a job (API reference, JobSpec).
func Job(j *batchv1.Job) {
	s := &j.Spec
	if s.Completions == nil && s.Parallelism == nil {
		ptr(&s.Completions, 1)
	}
	ptr(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		ptr(&s.BackoffLimit, math.MaxInt32)
	}
	ptr(&s.BackoffLimit, 6)
	ptr(&s.CompletionMode, batchv1.NonIndexedCompletion)
	ptr(&s.Suspend, false)
	ptr(&s.ManualSelector, false)
	if s.PodFailurePolicy != nil {
		ptr(&s.PodReplacementPolicy, batchv1.Failed)
		for _, rule := range s.PodFailurePolicy.Rules {
			for i := range rule.OnPodConditions {
				or(&rule.OnPodConditions[i].Status, corev1.ConditionTrue)
			}
		}
	}
	ptr(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	if len(j.Labels) == 0 && len(s.Template.Labels) > 0 {
		j.Labels = maps.Clone(s.Template.Labels)
	}
	template(&s.Template)
}

// CronJob defaults a cron job.
func CronJob(c *batchv1.CronJob) {
	or(&c.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
	ptr(&c.Spec.Suspend, false)
	ptr(&c.Spec.SuccessfulJobsHistoryLimit, 3)
	ptr(&c.Spec.FailedJobsHistoryLimit, 1)
	template(&c.Spec.JobTemplate.Spec.Template)
}

// The labels of a job's pods before they had a prefix; still written, as the API
// reference says.
const (
	oldJobName       = "job-name"
	oldControllerUID = "controller-uid"
)

// CreatedJob sets what the system gives every new job, whoever makes it: its
// generation, an empty status, and, unless it brings its own, a selector and labels
// that no other job has. The job has its UID.
func CreatedJob(j *batchv1.Job) {
	j.Generation = 1
	j.Status = batchv1.JobStatus{}
	if j.Spec.ManualSelector != nil && *j.Spec.ManualSelector {
		return
	}
	uid := string(j.UID)
	own := map[string]string{
		oldJobName: j.Name, oldControllerUID: uid, batchv1.JobNameLabel: j.Name, batchv1.ControllerUidLabel: uid,
	}
	labels := maps.Clone(j.Spec.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	for k, v := range own {
		if _, ok := labels[k]; !ok {
			labels[k] = v
		}
	}
	j.Spec.Template.Labels = labels
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	match := maps.Clone(j.Spec.Selector.MatchLabels)
	if match == nil {
		match = map[string]string{}
	}
	if _, ok := match[batchv1.ControllerUidLabel]; !ok {
		match[batchv1.ControllerUidLabel] = uid
	}
	j.Spec.Selector.MatchLabels = match
}
