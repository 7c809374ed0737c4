package agent

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/runtime"
)

// TestContainersRestartByTheirOwnWord: a container's rules come before its policy, and
// that before its pod's.
func TestContainersRestartByTheirOwnWord(t *testing.T) {
	rule := func(op corev1.ContainerRestartRuleOnExitCodesOperator, codes ...int32) []corev1.ContainerRestartRule {
		return []corev1.ContainerRestartRule{{
			Action: corev1.ContainerRestartRuleActionRestart, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: op, Values: codes},
		}}
	}
	const in, notIn = corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn
	for name, tt := range map[string]struct {
		pod   corev1.RestartPolicy
		own   corev1.ContainerRestartPolicy // empty: none
		rules []corev1.ContainerRestartRule
		code  int32 // of the first run; the next goes on
		phase corev1.PodPhase
	}{
		"a rule, against its policy": {corev1.RestartPolicyNever, corev1.ContainerRestartPolicyNever, rule(in, 42, 43), 42, corev1.PodRunning},
		"no rule meets":              {corev1.RestartPolicyNever, corev1.ContainerRestartPolicyNever, rule(in, 43), 42, corev1.PodFailed},
		"not in":                     {corev1.RestartPolicyAlways, corev1.ContainerRestartPolicyNever, rule(notIn, 42), 1, corev1.PodRunning},
		"its policy":                 {corev1.RestartPolicyNever, corev1.ContainerRestartPolicyOnFailure, nil, 1, corev1.PodRunning},
		"its policy ends it":         {corev1.RestartPolicyAlways, corev1.ContainerRestartPolicyNever, nil, 0, corev1.PodSucceeded},
		"its pod's":                  {corev1.RestartPolicyNever, "", nil, 1, corev1.PodFailed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, runtime.FakeConfig{Behave: func(c *runtime.ContainerConfig) runtime.FakeBehaviour {
					if c.Attempt > 0 {
						return runtime.FakeBehaviour{}
					}
					return runtime.FakeBehaviour{RunFor: time.Second, ExitCode: tt.code}
				}})
				defer func() { r.stop() }()
				p := pod("a", policy(tt.pod), func(p *corev1.Pod) {
					if tt.own != "" {
						p.Spec.Containers[0].RestartPolicy = &tt.own
					}
					p.Spec.Containers[0].RestartPolicyRules = tt.rules
				})
				r.full(p)
				time.Sleep(time.Minute)
				if st := r.status(p.UID); st.Phase != tt.phase || (tt.phase == corev1.PodRunning) != (st.ContainerStatuses[0].RestartCount == 1) {
					t.Errorf("%s after %d restarts, want %s", st.Phase, st.ContainerStatuses[0].RestartCount, tt.phase)
				}
			})
		})
	}
}
