package agent

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/machine"
	"trireme/internal/runtime"
)

func debugging(p *corev1.Pod, target string) *corev1.Pod {
	p = p.DeepCopy()
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger", Image: "tools:1", ImagePullPolicy: corev1.PullIfNotPresent},
		TargetContainerName:      target,
	}}
	return p
}

// TestEphemeralContainer: it joins a running pod, ends without touching it, and
// never starts again, not even after the agent did.
func TestEphemeralContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		targets := make(chan string, 9)
		r := newRig(t, runtime.FakeConfig{Behave: func(c *runtime.ContainerConfig) runtime.FakeBehaviour {
			if c.Name != "debugger" {
				return runtime.FakeBehaviour{}
			}
			targets <- c.TargetID
			return runtime.FakeBehaviour{RunFor: time.Minute, ExitCode: 2}
		}})
		defer func() { r.stop() }()
		p := pod("a")
		r.full(p)
		p = debugging(p, "c")
		r.delta(p)
		st := r.status(p.UID)
		if len(st.EphemeralContainerStatuses) != 1 || st.EphemeralContainerStatuses[0].State.Running == nil || st.EphemeralContainerStatuses[0].Ready {
			t.Fatalf("at the start: %+v", st.EphemeralContainerStatuses)
		}
		if got, want := <-targets, st.ContainerStatuses[0].ContainerID; machine.RuntimeScheme+got != want {
			t.Errorf("its target is %s, want %s", got, want)
		}
		time.Sleep(time.Hour)
		check := func(when string) {
			t.Helper()
			st := r.status(p.UID)
			if e := st.EphemeralContainerStatuses[0]; st.Phase != corev1.PodRunning || st.ContainerStatuses[0].RestartCount != 0 ||
				e.State.Terminated == nil || e.State.Terminated.ExitCode != 2 || e.RestartCount != 0 || len(targets) != 0 {
				t.Errorf("%s: %s %+v, started %d more times", when, st.Phase, e, len(targets))
			}
		}
		check("after its end")
		r.stop()
		r.start()
		p.Status = *st
		r.full(p)
		time.Sleep(time.Minute)
		check("after a restart of the agent")
		r.delta(deleted(p, 0))
		if !r.gone(p.UID) {
			t.Error("not gone")
		}
	})
}

// TestForgottenEphemeralContainer: one that the runtime has lost has ended, as was
// last said or nobody knows how; it does not start again.
func TestForgottenEphemeralContainer(t *testing.T) {
	for name, tt := range map[string]struct {
		said corev1.ContainerState
		want corev1.ContainerStateTerminated
	}{
		"ran":   {corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown"}},
		"ended": {corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}}, corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, runtime.FakeConfig{})
				defer func() { r.stop() }()
				p := debugging(pod("a"), "")
				p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "debugger", ContainerID: machine.RuntimeScheme + "lost", State: tt.said}}
				r.full(p)
				time.Sleep(time.Minute)
				st := r.status(p.UID)
				got := st.EphemeralContainerStatuses[0].State.Terminated
				if got == nil || got.ExitCode != tt.want.ExitCode || got.Reason != tt.want.Reason || st.Phase != corev1.PodRunning {
					t.Errorf("%s %+v, want the end %+v", st.Phase, st.EphemeralContainerStatuses[0], tt.want)
				}
			})
		})
	}
}

func TestEphemeralContainerWithoutItsTargetSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{Behave: func(c *runtime.ContainerConfig) runtime.FakeBehaviour {
			return runtime.FakeBehaviour{RunFor: time.Second, ExitCode: 1}
		}})
		defer r.stop()
		p := pod("a")
		r.full(p)
		time.Sleep(3 * time.Second) // it crashed twice and waits
		r.delta(debugging(p, "c"))
		if w := r.status(p.UID).EphemeralContainerStatuses[0].State.Waiting; w == nil || w.Reason != reasonConfig ||
			w.Message != `unable to find target container "c": it does not run` {
			t.Errorf("waiting: %+v", w)
		}
	})
}
