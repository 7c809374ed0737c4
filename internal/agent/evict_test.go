package agent

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/agent/pressure"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

// fakeMeter measures what the test says; nothing by itself.
type fakeMeter struct {
	mu   sync.Mutex
	left map[pressure.Signal]pressure.Amount
	use  func() []pressure.Usage
}

func (m *fakeMeter) Node(context.Context) map[pressure.Signal]pressure.Amount {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left
}

func (m *fakeMeter) Pods(_ context.Context, want func(*corev1.Pod) bool) (out []pressure.Usage, err error) {
	m.mu.Lock()
	use := m.use
	m.mu.Unlock()
	if use == nil {
		return nil, nil
	}
	for _, u := range use() {
		if want(u.Pod) {
			out = append(out, u)
		}
	}
	return out, nil
}

func (m *fakeMeter) set(s pressure.Signal, available int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = map[pressure.Signal]pressure.Amount{s: {Available: available, Capacity: 1 << 30}}
}

func (r *rig) nodeHas(c corev1.NodeConditionType) bool {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, have := range r.node.Conditions {
		if have.Type == c {
			return have.Status == corev1.ConditionTrue
		}
	}
	return false
}

// TestEvictionForMemory: the pod that uses most beyond its request goes, says why,
// and the next one does not go while there is room.
func TestEvictionForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer func() { r.stop() }()
		a, b := pod("a"), pod("b", sized("100m", "64Mi"))
		r.full(a, b)
		r.meter.mu.Lock()
		r.meter.use = func() []pressure.Usage {
			var out []pressure.Usage
			for _, p := range r.agent.Pods() {
				u := pressure.Usage{Pod: p, MemoryBytes: 32 << 20}
				if p.Name == "a" {
					u.Containers = map[string]pressure.ContainerUsage{"c": {MemoryBytes: 32 << 20}}
				}
				if !object.PodEnded(p) {
					out = append(out, u)
				}
			}
			return out
		}
		r.meter.mu.Unlock()
		r.meter.set(pressure.Memory, 50<<20)
		time.Sleep(3 * time.Second)
		st := r.status(a.UID)
		const why = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 32Mi, request is 0, has larger consumption of memory. "
		if st.Phase != corev1.PodFailed || st.Reason != "Evicted" || st.Message != why {
			t.Errorf("%s, %s: %s", st.Phase, st.Reason, st.Message)
		}
		c := condition(st, corev1.DisruptionTarget)
		if c == nil || c.Status != corev1.ConditionTrue || c.Reason != corev1.PodReasonTerminationByKubelet || c.Message != why {
			t.Errorf("condition %+v", c)
		}
		if s := st.ContainerStatuses[0].State.Terminated; s == nil || s.ExitCode != 137 {
			t.Errorf("a hard threshold leaves no time: %+v", s)
		}
		if !r.nodeHas(corev1.NodeMemoryPressure) {
			t.Error("the node does not say so")
		}
		r.meter.set(pressure.Memory, 500<<20)
		time.Sleep(time.Minute)
		if st := r.status(b.UID); st.Phase != corev1.PodRunning {
			t.Errorf("the other pod is %s", st.Phase)
		}
		// The condition lasts; who copes with it may come.
		late, best := pod("late", sized("1m", "1Mi")), pod("best")
		r.delta(late, best)
		if st := r.status(late.UID); st.Phase != corev1.PodRunning {
			t.Errorf("one with requests is %s", st.Phase)
		}
		if st := r.status(best.UID); st.Phase != corev1.PodFailed || st.Reason != "Evicted" || !strings.HasPrefix(st.Message, "Pod was rejected") {
			t.Errorf("one without is %s, %s: %s", st.Phase, st.Reason, st.Message)
		}
		time.Sleep(5 * time.Minute)
		if r.nodeHas(corev1.NodeMemoryPressure) {
			t.Error("the node still says so")
		}
		// What ended stays ended, and says why, under the next agent.
		r.stop()
		r.start()
		a.Status = *r.last[a.UID]
		r.full(a)
		if st := r.status(a.UID); st.Phase != corev1.PodFailed || st.Reason != "Evicted" || st.Message != why || condition(st, corev1.DisruptionTarget) == nil {
			t.Errorf("after a restart: %s, %s: %s", st.Phase, st.Reason, st.Message)
		}
	})
}

func TestTooMuchDiskIsEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		p := pod("a", func(p *corev1.Pod) {
			q := sizeOf("1Mi")
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &q}}}}
		})
		r.full(p)
		r.meter.mu.Lock()
		r.meter.use = func() []pressure.Usage {
			return []pressure.Usage{{Pod: p, EmptyDirs: map[string]int64{"v": 2 << 20}}}
		}
		r.meter.mu.Unlock()
		time.Sleep(15 * time.Second)
		st := r.status(p.UID)
		if st.Phase != corev1.PodFailed || st.Reason != "Evicted" || st.Message != `Usage of EmptyDir volume "v" exceeds the limit "1Mi". ` {
			t.Errorf("%s, %s: %s", st.Phase, st.Reason, st.Message)
		}
		if n := r.count("Evicted"); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func sizeOf(s string) resource.Quantity { return resource.MustParse(s) }
