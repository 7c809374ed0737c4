package agent

import (
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"

	"trireme/internal/object"
	"trireme/internal/runtime"
	"trireme/internal/wire"
)

// TestRuntimeClass: the handler is what the class says, and a pod whose class is not
// there waits for it.
func TestRuntimeClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handlers := make(chan string, 9)
		r := newRig(t, runtime.FakeConfig{Sandbox: func(c *runtime.SandboxConfig) { handlers <- c.RuntimeHandler }})
		defer r.stop()
		name := "fast"
		p := pod("a", func(p *corev1.Pod) { p.Spec.RuntimeClassName = &name })
		r.full(p)
		r.mu.Lock()
		last := r.events[len(r.events)-1]
		r.mu.Unlock()
		if last.Reason != "FailedCreatePodSandBox" || !strings.Contains(last.Message, `runtimeclass.node.k8s.io "fast" not found`) {
			t.Errorf("event %s: %s", last.Reason, last.Message)
		}
		class := &nodev1.RuntimeClass{Handler: "kata"}
		class.Name = name
		if err := r.assign(t.Context(), false, []wire.Item{{Table: "runtimeclasses", Key: object.Key{Name: name}, Object: class}}); err != nil {
			t.Fatal(err)
		}
		if st := r.status(p.UID); st.Phase != corev1.PodRunning {
			t.Fatalf("the pod is %s", st.Phase)
		}
		if got := <-handlers; got != "kata" {
			t.Errorf("handler %q", got)
		}
	})
}
