package kube

import (
	"fmt"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func jobCells(o runtime.Object) []any {
	j := o.(*batchv1.Job)
	names, images := containers(&j.Spec.Template.Spec)
	return []any{jobStatus(j), completions(j), jobDuration(j), age(j), names, images, metav1.FormatLabelSelector(j.Spec.Selector)}
}

func jobStatus(j *batchv1.Job) string {
	has := func(t batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == t {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	}
	for _, t := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if has(t) {
			return string(t)
		}
	}
	if j.DeletionTimestamp != nil {
		return "Terminating"
	}
	for _, t := range []batchv1.JobConditionType{batchv1.JobSuspended, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet} {
		if has(t) {
			return string(t)
		}
	}
	return "Running"
}

func completions(j *batchv1.Job) string {
	switch p := replicas(j.Spec.Parallelism); {
	case j.Spec.Completions != nil:
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	case p > 1:
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, p)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(j *batchv1.Job) string {
	if j.Status.StartTime == nil {
		return ""
	}
	end := time.Now()
	if j.Status.CompletionTime != nil {
		end = j.Status.CompletionTime.Time
	}
	for _, c := range j.Status.Conditions {
		if c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue {
			end = c.LastTransitionTime.Time
		}
	}
	return duration.HumanDuration(end.Sub(j.Status.StartTime.Time))
}

func cronJobCells(o runtime.Object) []any {
	c := o.(*batchv1.CronJob)
	zone, last := "<none>", "<none>"
	if c.Spec.TimeZone != nil {
		zone = *c.Spec.TimeZone
	}
	if c.Status.LastScheduleTime != nil {
		last = since(c.Status.LastScheduleTime.Time)
	}
	suspended := "False"
	if c.Spec.Suspend != nil && *c.Spec.Suspend {
		suspended = "True"
	}
	names, images := containers(&c.Spec.JobTemplate.Spec.Template.Spec)
	return []any{c.Spec.Schedule, zone, suspended, int64(len(c.Status.Active)), last, age(c), names, images, metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector)}
}

func disruptionBudgetCells(o runtime.Object) []any {
	b := o.(*policyv1.PodDisruptionBudget)
	text := func(v *intstr.IntOrString) string {
		if v == nil {
			return "N/A"
		}
		return v.String()
	}
	return []any{text(b.Spec.MinAvailable), text(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), age(b)}
}

func autoscalerCells(o runtime.Object) []any {
	h := o.(*autoscalingv2.HorizontalPodAutoscaler)
	least := "<unset>"
	if h.Spec.MinReplicas != nil {
		least = fmt.Sprint(*h.Spec.MinReplicas)
	}
	return []any{h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name, targets(h), least, int64(h.Spec.MaxReplicas), int64(h.Status.CurrentReplicas), age(h)}
}

// targets shows what each metric is and what it is to be, two of them and how many more.
func targets(h *autoscalingv2.HorizontalPodAutoscaler) string {
	var all []string
	for i := range h.Spec.Metrics {
		var now *autoscalingv2.MetricStatus
		if i < len(h.Status.CurrentMetrics) {
			now = &h.Status.CurrentMetrics[i]
		}
		all = append(all, targetText(&h.Spec.Metrics[i], now))
	}
	switch {
	case len(all) == 0:
		return "<none>"
	case len(all) > 2:
		return strings.Join(all[:2], ", ") + fmt.Sprintf(" + %d more...", len(all)-2)
	}
	return strings.Join(all, ", ")
}

func targetText(m *autoscalingv2.MetricSpec, now *autoscalingv2.MetricStatus) string {
	if now == nil {
		now = &autoscalingv2.MetricStatus{}
	}
	switch {
	case m.Pods != nil:
		return pair("", current(now.Pods), m.Pods.Target)
	case m.Object != nil:
		return pair("", current(now.Object), m.Object.Target)
	case m.External != nil:
		return pair("", current(now.External), m.External.Target)
	case m.Resource != nil:
		return pair(string(m.Resource.Name)+": ", current(now.Resource), m.Resource.Target)
	case m.ContainerResource != nil:
		return pair(string(m.ContainerResource.Name)+": ", current(now.ContainerResource), m.ContainerResource.Target)
	}
	return "<unknown type>"
}

// current returns the value in a metric's status, the zero value where there is none.
func current(status any) autoscalingv2.MetricValueStatus {
	switch s := status.(type) {
	case *autoscalingv2.PodsMetricStatus:
		if s != nil {
			return s.Current
		}
	case *autoscalingv2.ObjectMetricStatus:
		if s != nil {
			return s.Current
		}
	case *autoscalingv2.ExternalMetricStatus:
		if s != nil {
			return s.Current
		}
	case *autoscalingv2.ResourceMetricStatus:
		if s != nil {
			return s.Current
		}
	case *autoscalingv2.ContainerResourceMetricStatus:
		if s != nil {
			return s.Current
		}
	}
	return autoscalingv2.MetricValueStatus{}
}

func pair(name string, now autoscalingv2.MetricValueStatus, aim autoscalingv2.MetricTarget) string {
	text := func(q *apiresource.Quantity) string {
		if q == nil {
			return "<unknown>"
		}
		return q.String()
	}
	switch {
	case aim.AverageUtilization != nil:
		have := "<unknown>"
		if now.AverageUtilization != nil {
			have = fmt.Sprintf("%d%%", *now.AverageUtilization)
		}
		return fmt.Sprintf("%s%s/%d%%", name, have, *aim.AverageUtilization)
	case aim.AverageValue != nil:
		return name + text(now.AverageValue) + "/" + aim.AverageValue.String() + map[bool]string{name == "": " (avg)"}[true]
	}
	return name + text(now.Value) + "/" + text(aim.Value)
}
