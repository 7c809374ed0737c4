package defaults

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

// HorizontalPodAutoscaler defaults an autoscaler (API reference,
// HorizontalPodAutoscalerSpec).
func HorizontalPodAutoscaler(h *autoscalingv2.HorizontalPodAutoscaler) {
	s := &h.Spec
	ptr(&s.MinReplicas, 1)
	if len(s.Metrics) == 0 {
		eighty := int32(80)
		s.Metrics = []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name:   corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &eighty},
		}}}
	}
	if s.Behavior == nil {
		return
	}
	if up := s.Behavior.ScaleUp; up != nil {
		s.Behavior.ScaleUp = rules(up, scaleUp())
	}
	if down := s.Behavior.ScaleDown; down != nil {
		s.Behavior.ScaleDown = rules(down, scaleDown())
	}
}

// Behavior returns how the autoscaler moves, whatever it leaves out filled in.
func Behavior(h *autoscalingv2.HorizontalPodAutoscaler) (up, down *autoscalingv2.HPAScalingRules) {
	up, down = scaleUp(), scaleDown()
	if b := h.Spec.Behavior; b != nil {
		if b.ScaleUp != nil {
			up = rules(b.ScaleUp, up)
		}
		if b.ScaleDown != nil {
			down = rules(b.ScaleDown, down)
		}
	}
	return up, down
}

// scaleUp is the API reference's default: at once, by four pods or by twice as many
// every 15 s, whichever is more.
func scaleUp() *autoscalingv2.HPAScalingRules {
	zero, most := int32(0), autoscalingv2.MaxChangePolicySelect
	return &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &zero, SelectPolicy: &most, Policies: []autoscalingv2.HPAScalingPolicy{
		{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15}, {Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
	}}
}

// scaleDown is the API reference's default: as far as need be, to the most that was
// recommended in the last five minutes (the window is left to the loop's default).
func scaleDown() *autoscalingv2.HPAScalingRules {
	most := autoscalingv2.MaxChangePolicySelect
	return &autoscalingv2.HPAScalingRules{SelectPolicy: &most, Policies: []autoscalingv2.HPAScalingPolicy{
		{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
	}}
}

func rules(given, otherwise *autoscalingv2.HPAScalingRules) *autoscalingv2.HPAScalingRules {
	out := *otherwise
	if given.SelectPolicy != nil {
		out.SelectPolicy = given.SelectPolicy
	}
	if given.StabilizationWindowSeconds != nil {
		out.StabilizationWindowSeconds = given.StabilizationWindowSeconds
	}
	if given.Policies != nil {
		out.Policies = given.Policies
	}
	out.Tolerance = given.Tolerance
	return &out
}
