package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"trireme/internal/runtime"
)

// TestAdoptedBackOff: a container that waited for its next start still does, and
// says so, after the agent was started anew.
func TestAdoptedBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{Behave: func(*runtime.ContainerConfig) runtime.FakeBehaviour {
			return runtime.FakeBehaviour{RunFor: time.Second, ExitCode: 3}
		}})
		p := pod("a")
		r.full(p)
		time.Sleep(4 * time.Second) // it ended at 1 s and at 2 s; the next start is due at 12 s
		r.stop()
		r.start()
		defer r.stop()
		r.full(p)
		time.Sleep(2 * time.Second)
		st := r.status(p.UID).ContainerStatuses[0]
		if st.RestartCount != 1 || st.State.Waiting == nil || st.State.Waiting.Reason != "CrashLoopBackOff" {
			t.Errorf("restarts %d, state %+v", st.RestartCount, st.State)
		}
	})
}

// TestRebootIsNoCrash: what ended with its machine starts as soon as the machine is
// back, however often that happens.
func TestRebootIsNoCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		p := pod("a")
		r.full(p)
		time.Sleep(2 * time.Second)
		for boot := range int32(3) {
			list, err := r.fake.List(t.Context())
			if err != nil || len(list) == 0 {
				t.Fatalf("before boot %d: %v %v", boot, list, err)
			}
			r.stop()
			r.fake.KillSandbox(list[len(list)-1].ID)
			r.start()
			r.full(p)
			time.Sleep(2 * time.Second)
			if st := r.status(p.UID).ContainerStatuses[0]; st.RestartCount != boot+1 || st.State.Running == nil {
				t.Errorf("after boot %d: restarts %d, state %+v", boot, st.RestartCount, st.State)
			}
		}
		r.stop()
	})
}
