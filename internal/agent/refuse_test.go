package agent

import (
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/runtime"
)

// TestTakenHostPort: a pod bound to the node although its port is taken fails
// and starts nothing; a later one gets the port once it is free.
func TestTakenHostPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer func() { r.stop() }()
		port := func(address string, protocol corev1.Protocol) func(*corev1.Pod) {
			return func(p *corev1.Pod) {
				p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080, HostIP: address, Protocol: protocol}}
			}
		}
		first := pod("first", port("", "TCP"))
		r.full(first)
		second, udp := pod("second", port("192.0.2.1", "TCP")), pod("udp", port("", "UDP"))
		r.delta(second, udp)
		if st := r.status(second.UID); st.Phase != corev1.PodFailed || st.Reason != "NodePorts" || r.count("NodePorts") != 1 {
			t.Errorf("the second is %s, %s: %s", st.Phase, st.Reason, st.Message)
		}
		for _, p := range []*corev1.Pod{first, udp} {
			if st := r.status(p.UID); st.Phase != corev1.PodRunning {
				t.Errorf("%s is %s: %s", p.Name, st.Phase, st.Message)
			}
		}
		// An agent that starts anew finds both pods of before, and lets them be.
		first.Status, second.Status = *r.status(first.UID), *r.status(second.UID)
		r.stop()
		r.start()
		r.full(second, first)
		if a, b := r.status(first.UID).Phase, r.status(second.UID).Phase; a != corev1.PodRunning || b != corev1.PodFailed {
			t.Errorf("after a restart: %s, %s", a, b)
		}
		r.delta(deleted(first, 1))
		if !r.gone(first.UID) {
			t.Fatal("not gone")
		}
		third := pod("third", port("", "TCP"))
		r.delta(third)
		if st := r.status(third.UID); st.Phase != corev1.PodRunning {
			t.Errorf("the third is %s: %s", st.Phase, st.Message)
		}
	})
}
