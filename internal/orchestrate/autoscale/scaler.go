package autoscale

import (
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/defaults"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// toleranceUsual is how far a metric may be from its aim where nothing is said.
const toleranceUsual = 0.1

// scaler is one look at one autoscaler.
type scaler struct {
	tx  *store.Tx
	h   *autoscalingv2.HorizontalPodAutoscaler
	st  autoscalingv2.HorizontalPodAutoscalerStatus // what it becomes
	now metav1.Time

	target   *target
	members  []member
	past     *object.ScaleHistory
	up, down *autoscalingv2.HPAScalingRules
}

func newScaler(tx *store.Tx, h *autoscalingv2.HorizontalPodAutoscaler) *scaler {
	s := &scaler{tx: tx, h: h, st: *h.Status.DeepCopy(), now: metav1.NewTime(tx.Now())}
	s.up, s.down = defaults.Behavior(h)
	return s
}

func (s *scaler) run() {
	s.st.ObservedGeneration = &s.h.Generation
	s.look()
	if equality.Semantic.DeepEqual(s.st, s.h.Status) {
		return
	}
	next := *s.h // shallow: only the status is replaced
	next.Status = s.st
	tables.HorizontalPodAutoscalers.Put(s.tx, &next)
}

func (s *scaler) least() int32 {
	if s.h.Spec.MinReplicas == nil {
		return 1
	}
	return *s.h.Spec.MinReplicas
}

// look decides the size and brings it about.
func (s *scaler) look() {
	var err error
	if s.target, err = targetOf(s.tx, s.h.Namespace, s.h.Spec.ScaleTargetRef); err != nil {
		s.set(autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedGetScale", "the HPA controller was unable to get the target's current scale: "+err.Error())
		s.warn("FailedGetScale", err.Error())
		return
	}
	s.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	s.members = s.target.members(s.tx)
	current := s.target.Replicas
	s.st.CurrentReplicas = current
	s.recall()
	want, why, ok := s.want()
	if !ok {
		return
	}
	s.st.DesiredReplicas = want
	if want != current {
		if err := s.target.Resize(want); err != nil {
			s.st.DesiredReplicas = current
			s.set(autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedUpdateScale", "the HPA controller was unable to update the target scale: "+err.Error())
			s.warn("FailedRescale", fmt.Sprintf("New size: %d; reason: %s; error: %v", want, why, err))
			s.keep()
			return
		}
		s.moved(current, want)
		s.st.LastScaleTime = &metav1.Time{Time: s.now.Truncate(1e9)}
		s.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", want))
		tell.About(s.tx, tables.HorizontalPodAutoscalers, s.h, tell.Event{From: controller, Type: corev1.EventTypeNormal, Reason: "SuccessfulRescale",
			Message: fmt.Sprintf("New size: %d; reason: %s", want, why)})
	}
	s.keep()
}

// want returns the size that is wanted and why; false: that cannot be told.
func (s *scaler) want() (n int32, why string, ok bool) {
	current, least, most := s.target.Replicas, s.least(), s.h.Spec.MaxReplicas
	switch {
	case current == 0 && least != 0:
		s.set(autoscalingv2.ScalingActive, corev1.ConditionFalse, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
		return 0, "", true
	case current > most:
		return most, "Current number of replicas above Spec.MaxReplicas", true
	case current < least:
		return least, "Current number of replicas below Spec.MinReplicas", true
	}
	n, why, ok = s.measured()
	if !ok {
		return 0, "", false
	}
	n, reason, message := s.stabilize(n)
	s.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, reason, message)
	n, reason, message = s.limit(n)
	if reason == "" {
		s.set(autoscalingv2.ScalingLimited, corev1.ConditionFalse, "DesiredWithinRange", message)
	} else {
		s.set(autoscalingv2.ScalingLimited, corev1.ConditionTrue, reason, message)
	}
	return n, why, true
}

// measured returns the largest size that a metric asks for. Where one cannot be had, the
// others may make it larger, not smaller.
func (s *scaler) measured() (n int32, why string, ok bool) {
	var all []autoscalingv2.MetricStatus
	var fault error
	faultReason, name, valid := "", "", 0
	for i := range s.h.Spec.Metrics {
		p, reason, err := s.propose(i)
		if err != nil {
			if fault == nil {
				fault, faultReason = err, reason
			}
			s.warn(reason, err.Error())
			continue
		}
		all = append(all, p.status)
		if valid == 0 || p.replicas > n {
			n, name = p.replicas, p.name
		}
		valid++
	}
	if fault != nil && (valid == 0 || n < s.target.Replicas) {
		s.set(autoscalingv2.ScalingActive, corev1.ConditionFalse, faultReason, "the HPA was unable to compute the replica count: "+fault.Error())
		return 0, "", false
	}
	s.st.CurrentMetrics = all
	s.set(autoscalingv2.ScalingActive, corev1.ConditionTrue, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+name)
	if n > s.target.Replicas {
		return n, name + " above target", true
	}
	return n, "All metrics below target", true
}

// tolerated reports whether a metric is near enough to its aim.
func (s *scaler) tolerated(ratio float64) bool {
	of := func(r *autoscalingv2.HPAScalingRules) float64 {
		if r.Tolerance == nil {
			return toleranceUsual
		}
		return r.Tolerance.AsApproximateFloat64()
	}
	const slack = 1e-9
	return ratio >= 1-of(s.down)-slack && ratio <= 1+of(s.up)+slack
}

// recall reads what was done lately. One who has just taken over takes the present size
// for what was recommended.
func (s *scaler) recall() {
	if past, ok := tables.ScaleHistories.Get(s.tx, object.KeyOf(s.h)); ok && past.Of == s.h.UID {
		s.past = past.DeepCopyObject().(*object.ScaleHistory)
		return
	}
	s.past = &object.ScaleHistory{ObjectMeta: metav1.ObjectMeta{Namespace: s.h.Namespace, Name: s.h.Name}, Of: s.h.UID}
	s.past.Recommended = []object.ScaleStep{{At: metav1.NewTime(s.now.Add(-1)), Replicas: s.target.Replicas}}
}

// keep writes what is to be remembered, if that changed.
func (s *scaler) keep() {
	s.prune()
	if was, ok := tables.ScaleHistories.Get(s.tx, object.KeyOf(s.h)); ok && was.Same(s.past) {
		return
	}
	tables.ScaleHistories.Put(s.tx, s.past)
}

// controller is who speaks in events.
const controller = "horizontal-pod-autoscaler"

func (s *scaler) warn(reason, message string) {
	tell.Once(s.tx, tables.HorizontalPodAutoscalers, s.h, tell.Event{From: controller, Type: corev1.EventTypeWarning, Reason: reason, Message: message})
}

// set writes a condition; its time moves when its status does.
func (s *scaler) set(t autoscalingv2.HorizontalPodAutoscalerConditionType, status corev1.ConditionStatus, reason, message string) {
	for i := range s.st.Conditions {
		c := &s.st.Conditions[i]
		if c.Type != t {
			continue
		}
		if c.Status != status {
			c.LastTransitionTime = metav1.NewTime(s.now.Truncate(1e9))
		}
		c.Status, c.Reason, c.Message = status, reason, message
		return
	}
	s.st.Conditions = append(s.st.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{
		Type: t, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(s.now.Truncate(1e9)),
	})
}
