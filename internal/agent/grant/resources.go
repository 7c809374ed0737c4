package grant

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// With returns the pod with other resources of its containers.
func With(pod *corev1.Pod, of func(*corev1.Container) corev1.ResourceRequirements) *corev1.Pod {
	out := *pod
	list := func(in []corev1.Container) []corev1.Container {
		next := append([]corev1.Container(nil), in...)
		for i := range next {
			next[i].Resources = of(&next[i])
		}
		return next
	}
	out.Spec.Containers, out.Spec.InitContainers = list(pod.Spec.Containers), list(pod.Spec.InitContainers)
	return &out
}

// Each calls f for every container of the pod, init ones first.
func Each(p *corev1.Pod, f func(*corev1.Container)) {
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			f(&list[i])
		}
	}
}

// Same reports whether two containers may use the same.
func Same(a, b corev1.ResourceRequirements) bool {
	return SameList(a.Requests, b.Requests) && SameList(a.Limits, b.Limits)
}

// SameList reports whether both lists say the same; an empty one is none.
func SameList(a, b corev1.ResourceList) bool {
	return len(a) == 0 && len(b) == 0 || equality.Semantic.DeepEqual(a, b)
}

// Limits returns what the status says limits the container, what was granted if
// it does not say.
func Limits(st *corev1.ContainerStatus, c *corev1.Container) corev1.ResourceRequirements {
	if st.Resources == nil {
		return c.Resources
	}
	return *st.Resources
}

// SamePod reports whether the containers of both versions of a pod may use the same.
func SamePod(a, b *corev1.Pod) bool {
	same := func(a, b []corev1.Container) bool {
		for i := range a {
			if !Same(a[i].Resources, b[i].Resources) {
				return false
			}
		}
		return true
	}
	return same(a.Spec.Containers, b.Spec.Containers) && same(a.Spec.InitContainers, b.Spec.InitContainers)
}

// Reported returns what the pod's status says was granted to the container.
func Reported(pod *corev1.Pod, c *corev1.Container) corev1.ResourceRequirements {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			st := &list[i]
			if st.Name != c.Name || st.AllocatedResources == nil || SameList(st.AllocatedResources, c.Resources.Requests) {
				continue
			}
			out := corev1.ResourceRequirements{Requests: st.AllocatedResources, Limits: c.Resources.Limits, Claims: c.Resources.Claims}
			if st.Resources != nil {
				out.Limits = st.Resources.Limits
			}
			return out
		}
	}
	return c.Resources
}
