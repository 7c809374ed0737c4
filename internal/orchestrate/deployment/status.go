package deployment

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/tables"
)

// The reasons of conditions, in Kubernetes' words.
const (
	reasonCreated   = "NewReplicaSetCreated"
	reasonFound     = "FoundNewReplicaSet"
	reasonUpdated   = "ReplicaSetUpdated"
	reasonAvailable = "NewReplicaSetAvailable"
	reasonTimedOut  = "ProgressDeadlineExceeded"
	reasonPaused    = "DeploymentPaused"
	reasonResumed   = "DeploymentResumed"
	reasonRefused   = "ReplicaSetCreateError"
	reasonEnough    = "MinimumReplicasAvailable"
	reasonTooFew    = "MinimumReplicasUnavailable"
)

func conditionOf(d *appsv1.Deployment, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == t {
			return &d.Status.Conditions[i]
		}
	}
	return nil
}

// progress sets the condition Progressing as of now.
func (s *step) progress(status corev1.ConditionStatus, reason, message string) {
	s.condition = s.timed(s.condition, appsv1.DeploymentCondition{
		Type: appsv1.DeploymentProgressing, Status: status, Reason: reason, Message: message,
	})
}

// timed gives a condition its times; the time of the last transition moves with
// the status only.
func (s *step) timed(old *appsv1.DeploymentCondition, c appsv1.DeploymentCondition) *appsv1.DeploymentCondition {
	now := metav1.NewTime(s.tx.Now().Truncate(time.Second))
	c.LastUpdateTime, c.LastTransitionTime = now, now
	if old != nil && old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	return &c
}

// pausing notes when a deployment is paused or goes on, so that the time on hold
// does not count against its deadline.
func (s *step) pausing() {
	if s.d.Spec.ProgressDeadlineSeconds == nil || s.condition != nil && s.condition.Reason == reasonTimedOut {
		return
	}
	paused := s.condition != nil && s.condition.Reason == reasonPaused
	switch {
	case s.d.Spec.Paused && !paused:
		s.progress(corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
	case !s.d.Spec.Paused && paused:
		s.progress(corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	}
}

// writeStatus writes the deployment's status and revision, if they differ from
// what stands, and reports whether the rollout is complete.
func (s *step) writeStatus() (complete bool) {
	d := s.d
	st := s.counts()
	complete = s.complete(&st)
	if !d.Spec.Paused && d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds < maxDeadline {
		s.judge(&st, complete)
	} else if !d.Spec.Paused {
		s.condition = nil
	}
	st.Conditions = s.conditions(&st)
	revision := d.Annotations[revisionAnnotation]
	if s.fresh != nil && s.fresh.Annotations[revisionAnnotation] != "" {
		revision = s.fresh.Annotations[revisionAnnotation]
	}
	if equality.Semantic.DeepEqual(st, d.Status) && revision == d.Annotations[revisionAnnotation] {
		return complete
	}
	next := d.DeepCopy()
	next.Status = st
	if revision != "" {
		if next.Annotations == nil {
			next.Annotations = map[string]string{}
		}
		next.Annotations[revisionAnnotation] = revision
	}
	tables.Deployments.Put(s.tx, next)
	return complete
}

func (s *step) counts() appsv1.DeploymentStatus {
	st := appsv1.DeploymentStatus{ObservedGeneration: s.d.Generation, CollisionCount: s.collisions, TerminatingReplicas: new(int32)}
	var asked int32
	for _, rs := range s.sets {
		asked += sizeOf(rs)
		st.Replicas += rs.Status.Replicas
		st.ReadyReplicas += rs.Status.ReadyReplicas
		st.AvailableReplicas += rs.Status.AvailableReplicas
		if n := rs.Status.TerminatingReplicas; n != nil {
			*st.TerminatingReplicas += *n
		}
		if rs == s.fresh {
			st.UpdatedReplicas = rs.Status.Replicas
		}
	}
	st.UnavailableReplicas = max(asked-st.AvailableReplicas, 0)
	return st
}

func (s *step) complete(st *appsv1.DeploymentStatus) bool {
	n := wanted(s.d)
	return s.fresh != nil && st.UpdatedReplicas == n && st.Replicas == n && st.AvailableReplicas == n
}

// judge sets the condition Progressing from how the counts moved since the last
// status.
func (s *step) judge(st *appsv1.DeploymentStatus, complete bool) {
	if s.refused {
		return // the condition says so already
	}
	if c := s.condition; c != nil && c.Reason == reasonAvailable && st.Replicas == st.UpdatedReplicas {
		return // it was complete: pods that come and go later are no rollout
	}
	what := fmt.Sprintf("Deployment %q", s.d.Name)
	if s.fresh != nil {
		what = fmt.Sprintf("ReplicaSet %q", s.fresh.Name)
	}
	was := &s.d.Status
	old, oldWas := st.Replicas-st.UpdatedReplicas, was.Replicas-was.UpdatedReplicas
	moved := st.UpdatedReplicas > was.UpdatedReplicas || old < oldWas ||
		st.ReadyReplicas > was.ReadyReplicas || st.AvailableReplicas > was.AvailableReplicas
	switch {
	case complete:
		s.progress(corev1.ConditionTrue, reasonAvailable, what+" has successfully progressed.")
	case moved:
		s.progress(corev1.ConditionTrue, reasonUpdated, what+" is progressing.")
	case s.overdue():
		s.next = time.Time{}
		if s.condition.Reason != reasonTimedOut {
			s.progress(corev1.ConditionFalse, reasonTimedOut, what+" has timed out progressing.")
		}
	}
	if c := s.condition; !complete && c != nil && c.Reason != reasonTimedOut {
		s.next = c.LastUpdateTime.Add(time.Duration(*s.d.Spec.ProgressDeadlineSeconds) * time.Second)
	}
}

func (s *step) overdue() bool {
	c := s.condition
	if c == nil || c.Reason == reasonAvailable {
		return false
	}
	if c.Reason == reasonTimedOut {
		return true
	}
	return !s.tx.Now().Before(c.LastUpdateTime.Add(time.Duration(*s.d.Spec.ProgressDeadlineSeconds) * time.Second))
}

// conditions returns the deployment's conditions with Available and Progressing
// as they now are.
func (s *step) conditions(st *appsv1.DeploymentStatus) []appsv1.DeploymentCondition {
	p := s.policy()
	available := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentAvailable, Status: corev1.ConditionFalse, Reason: reasonTooFew,
		Message: "Deployment does not have minimum availability.",
	}
	if int(st.AvailableReplicas) >= p.Desired-p.Unavailable {
		available.Status, available.Reason = corev1.ConditionTrue, reasonEnough
		available.Message = "Deployment has minimum availability."
	}
	had := conditionOf(s.d, appsv1.DeploymentAvailable)
	if had != nil && had.Status == available.Status && had.Reason == available.Reason {
		available = *had
	} else {
		available = *s.timed(had, available)
	}
	all := slices.Clone(s.d.Status.Conditions)
	all = set(all, appsv1.DeploymentAvailable, &available)
	all = set(all, appsv1.DeploymentProgressing, s.condition)
	return set(all, appsv1.DeploymentReplicaFailure, s.replicaFailure())
}

// replicaFailure returns the condition that one of the sets could not make a pod,
// the newest set's before the others'; nil: all could.
func (s *step) replicaFailure() (failure *appsv1.DeploymentCondition) {
	for _, rs := range s.sets {
		for i := range rs.Status.Conditions {
			c := &rs.Status.Conditions[i]
			if c.Type != appsv1.ReplicaSetReplicaFailure || failure != nil && rs != s.fresh {
				continue
			}
			failure = &appsv1.DeploymentCondition{
				Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
				LastUpdateTime: c.LastTransitionTime, LastTransitionTime: c.LastTransitionTime,
			}
		}
	}
	return failure
}

// set replaces, adds or (nil) removes a condition.
func set(all []appsv1.DeploymentCondition, t appsv1.DeploymentConditionType, c *appsv1.DeploymentCondition) []appsv1.DeploymentCondition {
	i := slices.IndexFunc(all, func(have appsv1.DeploymentCondition) bool { return have.Type == t })
	switch {
	case i < 0 && c != nil:
		return append(all, *c)
	case i >= 0 && c != nil:
		all[i] = *c
	case i >= 0:
		return slices.Delete(all, i, i+1)
	}
	return all
}
