package assigned

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/runtime"
)

// Orphan returns a pod that stands for what the runtime has of a pod that is
// assigned no more.
func Orphan(s runtime.Sandbox) *corev1.Pod {
	now := metav1.Now()
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: s.Name, Namespace: s.Namespace, UID: s.UID, Labels: s.Labels, Annotations: s.Annotations,
		DeletionTimestamp: &now, DeletionGracePeriodSeconds: &grace,
	}}
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	seen := map[string]bool{}
	for _, c := range s.Containers {
		if !seen[c.Name] {
			seen[c.Name] = true
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c.Name, Image: c.ImageRef})
		}
	}
	return pod
}
