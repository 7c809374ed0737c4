package job

import (
	"fmt"
	"math"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// judge decides whether the Job has come to its end.
func (s *sync) judge() {
	if s.finish = holds(&s.st, batchv1.JobFailureTarget); s.finish != nil {
		return
	}
	if s.finish = holds(&s.st, batchv1.JobSuccessCriteriaMet); s.finish != nil {
		return
	}
	if reason, message := s.fatal(); reason != "" {
		s.finish = s.set(batchv1.JobFailureTarget, corev1.ConditionTrue, reason, message)
		return
	}
	if reason, message := s.won(); reason != "" {
		s.finish = s.set(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, reason, message)
	}
}

// fatal returns why the Job has failed; an empty reason: it has not.
func (s *sync) fatal() (reason, message string) {
	spec := &s.o.Spec
	limit := int32(6)
	if spec.BackoffLimit != nil {
		limit = *spec.BackoffLimit
	}
	switch {
	case s.verdict != "":
		return batchv1.JobReasonPodFailurePolicy, s.verdict
	case s.failures() > limit || s.restartedTooOften(limit):
		return batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"
	case s.late():
		return batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline"
	case spec.MaxFailedIndexes != nil && s.lost.len() > *spec.MaxFailedIndexes:
		return batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes"
	case s.lost.len() > 0 && s.completed.len()+s.lost.len() >= s.completions() && s.j.count.active == 0:
		return batchv1.JobReasonFailedIndexes, "Job has failed indexes"
	}
	return "", ""
}

// restartedTooOften counts the restarts of containers as failures where the pods
// restart them themselves.
func (s *sync) restartedTooOften(limit int32) bool {
	if s.o.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	if limit == 0 {
		return s.j.count.restarts > 0
	}
	return s.j.count.restarts >= limit
}

func (s *sync) late() bool {
	d := s.o.Spec.ActiveDeadlineSeconds
	if d == nil || s.suspended() || s.st.StartTime == nil {
		return false
	}
	at := s.st.StartTime.Add(time.Duration(*d) * time.Second)
	if s.tx.Now().Before(at) {
		s.at = sooner(s.at, at)
		return false
	}
	return true
}

// won returns why the Job has succeeded; an empty reason: it has not.
func (s *sync) won() (reason, message string) {
	if p := s.o.Spec.SuccessPolicy; p != nil && s.j.indexed {
		for i, rule := range p.Rules {
			if s.meets(&rule) {
				return batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", i)
			}
		}
	}
	if s.j.count.active > 0 {
		return "", ""
	}
	n := s.succeeded()
	if s.o.Spec.Completions == nil && n > 0 || s.o.Spec.Completions != nil && n >= *s.o.Spec.Completions {
		return batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods"
	}
	return "", ""
}

func (s *sync) meets(rule *batchv1.SuccessPolicyRule) bool {
	have, want := s.completed.len(), int32(math.MaxInt32)
	if rule.SucceededIndexes != nil {
		set := parseIndexes(*rule.SucceededIndexes)
		have, want = s.completed.shared(set), set.len()
	}
	if rule.SucceededCount != nil {
		want = *rule.SucceededCount
	}
	return have >= want
}

// wind ends the Job: its pods are told to, and once none is left the last condition
// is set.
func (s *sync) wind() {
	for _, key := range object.SortedKeys(s.j.pods) {
		if len(s.kill) >= s.budget {
			break
		}
		if s.j.pods[key].active() {
			s.kill = append(s.kill, key)
		}
	}
	list := s.st.UncountedTerminatedPods
	if len(s.kill)+len(s.held)+len(list.Succeeded)+len(list.Failed) > 0 || s.j.count.active+s.j.count.terminating > 0 || s.at.Equal(s.tx.Now()) {
		return
	}
	s.st.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	reason, message := s.finish.Reason, s.finish.Message
	if s.finish.Type == batchv1.JobFailureTarget {
		s.set(batchv1.JobFailed, corev1.ConditionTrue, reason, message)
		s.tell(corev1.EventTypeWarning, reason, message)
		return
	}
	s.set(batchv1.JobComplete, corev1.ConditionTrue, reason, message)
	s.st.CompletionTime = &s.now
	s.tell(corev1.EventTypeNormal, "Completed", "Job completed")
}

// verdict is what a Job's policy says of a pod that failed.
type verdict struct {
	action  batchv1.PodFailurePolicyAction // empty: nothing; it counts
	message string
}

// judgePod returns what the first rule that the pod meets says (API reference,
// PodFailurePolicy).
func judgePod(p *batchv1.PodFailurePolicy, pod *corev1.Pod) verdict {
	if p == nil {
		return verdict{}
	}
	for i, rule := range p.Rules {
		if rule.OnExitCodes != nil {
			if c, code := exited(rule.OnExitCodes, pod); c != "" {
				return verdict{rule.Action, fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d matching %s rule at index %d",
					c, pod.Namespace, pod.Name, code, rule.Action, i)}
			}
			continue
		}
		for _, want := range rule.OnPodConditions {
			status := want.Status
			if status == "" {
				status = corev1.ConditionTrue
			}
			if c := object.PodCondition(pod, want.Type); c != nil && c.Status == status {
				return verdict{rule.Action, fmt.Sprintf("Pod %s/%s has condition %s matching %s rule at index %d",
					pod.Namespace, pod.Name, want.Type, rule.Action, i)}
			}
		}
	}
	return verdict{}
}

// exited returns the first container that ended with a code that the rule is about.
func exited(rule *batchv1.PodFailurePolicyOnExitCodesRequirement, pod *corev1.Pod) (container string, code int32) {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			t := list[i].State.Terminated
			if t == nil || t.ExitCode == 0 || rule.ContainerName != nil && *rule.ContainerName != list[i].Name {
				continue
			}
			in := slices.Contains(rule.Values, t.ExitCode)
			if in == (rule.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return list[i].Name, t.ExitCode
			}
		}
	}
	return "", 0
}
