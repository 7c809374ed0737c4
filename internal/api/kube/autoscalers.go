package kube

import (
	"encoding/json"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// What autoscaling/v1 has no field for travels in these annotations, so that an
// autoscaler read and written in v1 loses nothing (Kubernetes API reference,
// HorizontalPodAutoscaler v1).
const (
	metricsNote        = "autoscaling.alpha.kubernetes.io/metrics"
	behaviorNote       = "autoscaling.alpha.kubernetes.io/behavior"
	conditionsNote     = "autoscaling.alpha.kubernetes.io/conditions"
	currentMetricsNote = "autoscaling.alpha.kubernetes.io/current-metrics"
)

// addAutoscalers makes autoscaling/v1 a second form of the v2 autoscalers.
func addAutoscalers(s *runtime.Scheme) error {
	add := s.AddConversionFunc
	type (
		v1  = autoscalingv1.HorizontalPodAutoscaler
		v2  = autoscalingv2.HorizontalPodAutoscaler
		v1s = autoscalingv1.HorizontalPodAutoscalerList
		v2s = autoscalingv2.HorizontalPodAutoscalerList
	)
	if err := add((*v1)(nil), (*v2)(nil), func(a, b any, _ conversion.Scope) error { return autoscalerFromV1(a.(*v1), b.(*v2)) }); err != nil {
		return err
	}
	if err := add((*v2)(nil), (*v1)(nil), func(a, b any, _ conversion.Scope) error { return autoscalerToV1(a.(*v2), b.(*v1)) }); err != nil {
		return err
	}
	return add((*v2s)(nil), (*v1s)(nil), func(a, b any, _ conversion.Scope) error {
		in, out := a.(*v2s), b.(*v1s)
		out.ListMeta = in.ListMeta
		out.Items = make([]v1, len(in.Items))
		for i := range in.Items {
			if err := autoscalerToV1(&in.Items[i], &out.Items[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func autoscalerFromV1(in *autoscalingv1.HorizontalPodAutoscaler, out *autoscalingv2.HorizontalPodAutoscaler) error {
	in = in.DeepCopy() // a patch writes into what it is given
	out.ObjectMeta = in.ObjectMeta
	out.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(in.Spec.ScaleTargetRef),
		MinReplicas:    in.Spec.MinReplicas, MaxReplicas: in.Spec.MaxReplicas,
	}
	if p := in.Spec.TargetCPUUtilizationPercentage; p != nil {
		out.Spec.Metrics = []autoscalingv2.MetricSpec{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: p},
			},
		}}
	}
	out.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		ObservedGeneration: in.Status.ObservedGeneration, LastScaleTime: in.Status.LastScaleTime,
		CurrentReplicas: in.Status.CurrentReplicas, DesiredReplicas: in.Status.DesiredReplicas,
	}
	var more []autoscalingv2.MetricSpec
	for note, into := range map[string]any{
		metricsNote: &more, behaviorNote: &out.Spec.Behavior,
		conditionsNote: &out.Status.Conditions, currentMetricsNote: &out.Status.CurrentMetrics,
	} {
		text, ok := out.Annotations[note]
		if !ok {
			continue
		}
		// As Kubernetes does: a note that does not decode is left out, not refused.
		if json.Unmarshal([]byte(text), into) == nil {
			delete(out.Annotations, note)
		}
	}
	out.Spec.Metrics = append(out.Spec.Metrics, more...)
	return nil
}

func autoscalerToV1(in *autoscalingv2.HorizontalPodAutoscaler, out *autoscalingv1.HorizontalPodAutoscaler) error {
	in = in.DeepCopy() // a patch writes into what it is given
	out.ObjectMeta = in.ObjectMeta
	out.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(in.Spec.ScaleTargetRef),
		MinReplicas:    in.Spec.MinReplicas, MaxReplicas: in.Spec.MaxReplicas,
	}
	var more []autoscalingv2.MetricSpec
	for _, m := range in.Spec.Metrics {
		if cpu := m.Resource; out.Spec.TargetCPUUtilizationPercentage == nil && cpu != nil && cpu.Name == corev1.ResourceCPU && cpu.Target.AverageUtilization != nil {
			out.Spec.TargetCPUUtilizationPercentage = cpu.Target.AverageUtilization
			continue
		}
		more = append(more, m)
	}
	out.Status = autoscalingv1.HorizontalPodAutoscalerStatus{
		ObservedGeneration: in.Status.ObservedGeneration, LastScaleTime: in.Status.LastScaleTime,
		CurrentReplicas: in.Status.CurrentReplicas, DesiredReplicas: in.Status.DesiredReplicas,
	}
	for _, m := range in.Status.CurrentMetrics {
		if m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Current.AverageUtilization != nil {
			out.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
		}
	}
	notes := map[string]any{}
	if len(more) > 0 {
		notes[metricsNote] = more
	}
	if in.Spec.Behavior != nil {
		notes[behaviorNote] = in.Spec.Behavior
	}
	if len(in.Status.Conditions) > 0 {
		notes[conditionsNote] = in.Status.Conditions
	}
	if len(in.Status.CurrentMetrics) > 0 {
		notes[currentMetricsNote] = in.Status.CurrentMetrics
	}
	for note, value := range notes {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[note] = string(text)
	}
	return nil
}
