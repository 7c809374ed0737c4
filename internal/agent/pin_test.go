package agent

import (
	"strconv"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/agent/machine"
	"trireme/internal/runtime"
)

// TestExclusiveCPUs: a Guaranteed pod with a whole CPU has it to itself, the others
// move away as they run and come back when it has ended.
func TestExclusiveCPUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, fake: runtime.NewFake(runtime.FakeConfig{}), root: t.TempDir(), exclusive: true,
			reserved: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}}
		r.start()
		defer func() { r.stop() }()
		r.mu.Lock()
		n := int(r.node.Capacity.Cpu().Value())
		r.mu.Unlock()
		if n < 2 {
			t.Skip("one CPU cannot be shared out")
		}
		all, less := "0-"+strconv.Itoa(n-1), "0,2-"+strconv.Itoa(n-1)
		switch n {
		case 2:
			less = "0"
		case 3:
			less = "0,2"
		}
		on := func(p *corev1.Pod, want string) {
			t.Helper()
			st := r.status(p.UID)
			if got := r.fake.Limits(st.ContainerStatuses[0].ContainerID[len(machine.RuntimeScheme):]).CPUs; got != want {
				t.Errorf("pod %s runs on %q, want %q", p.Name, got, want)
			}
			if c := condition(st, corev1.PodResizeInProgress); c != nil {
				t.Errorf("pod %s: %+v", p.Name, c)
			}
		}
		shared, own := pod("shared"), pod("own", sized("1", "8Mi"))
		r.full(shared)
		on(shared, all)
		r.delta(own)
		on(own, "1")
		on(shared, less)
		r.delta(r.resized(own, "2", "8Mi"))
		if c := condition(r.status(own.UID), corev1.PodResizePending); c == nil || c.Reason != corev1.PodReasonInfeasible {
			t.Errorf("resizing it: %+v", c)
		}
		greedy := pod("greedy", sized(strconv.Itoa(n), "8Mi"))
		r.delta(greedy)
		if st := r.status(greedy.UID); st.Phase != corev1.PodFailed || st.Reason != "UnexpectedAdmissionError" {
			t.Errorf("one that wants more than there are is %s, %s", st.Phase, st.Reason)
		}
		r.stop()
		r.start()
		own.Status, shared.Status = *r.last[own.UID], *r.last[shared.UID]
		r.full(own, shared)
		on(own, "1")
		on(shared, less)
		r.delta(deleted(own, 0))
		if !r.gone(own.UID) {
			t.Fatal("not gone")
		}
		on(shared, all)
	})
}
