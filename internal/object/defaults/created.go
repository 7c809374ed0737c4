package defaults

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// CreatedPod sets what the system gives every new pod, whoever makes it: a
// user through a door or a loop from a template. It clears the status.
func CreatedPod(p *corev1.Pod) {
	p.Generation = 1
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: object.QOS(p)}
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount = "default", "default"
	}
	ptr(&p.Spec.Priority, 0)
	ptr(&p.Spec.PreemptionPolicy, corev1.PreemptLowerPriority)
	TolerateNodeLoss(&p.Spec)
}

// TolerateNodeLoss gives a pod five minutes on a node that is not ready or not
// reachable, as Kubernetes' DefaultTolerationSeconds admission does.
func TolerateNodeLoss(s *corev1.PodSpec) {
	const seconds = int64(300)
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if tolerates(s.Tolerations, key) {
			continue
		}
		wait := seconds
		s.Tolerations = append(s.Tolerations[:len(s.Tolerations):len(s.Tolerations)], corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &wait,
		})
	}
}

func tolerates(all []corev1.Toleration, key string) bool {
	for _, t := range all {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
