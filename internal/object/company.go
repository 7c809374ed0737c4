package object

import corev1 "k8s.io/api/core/v1"

// AsksOfPods reports whether the pod has terms of affinity or anti-affinity to other pods.
func AsksOfPods(p *corev1.Pod) bool {
	a := p.Spec.Affinity
	if a == nil {
		return false
	}
	if t := a.PodAffinity; t != nil && len(t.RequiredDuringSchedulingIgnoredDuringExecution)+len(t.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		return true
	}
	t := a.PodAntiAffinity
	return t != nil && len(t.RequiredDuringSchedulingIgnoredDuringExecution)+len(t.PreferredDuringSchedulingIgnoredDuringExecution) > 0
}
