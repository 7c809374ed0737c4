package object

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// RestartsAfter reports whether a container that ended with the exit code runs again: by
// its own rules and policy, or by its pod's (Kubernetes, "Pod Lifecycle: individual
// container restart policy").
func RestartsAfter(p *corev1.Pod, c *corev1.Container, code int32) bool {
	for i := range c.RestartPolicyRules {
		if e := c.RestartPolicyRules[i].ExitCodes; e != nil &&
			slices.Contains(e.Values, code) == (e.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return true
		}
	}
	policy := p.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	return policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && code != 0
}
