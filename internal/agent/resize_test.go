package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/agent/machine"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

// sized gives the pod's container cpu and memory, as requests and as limits.
func sized(cpu, memory string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		l := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: l, Limits: l}
	}
}

// resized returns the next version of the pod, with what its node last said of it.
func (r *rig) resized(p *corev1.Pod, cpu, memory string) *corev1.Pod {
	out := p.DeepCopy()
	out.Generation++
	out.Status = *r.status(p.UID).DeepCopy()
	sized(cpu, memory)(out)
	return out
}

func condition(st *corev1.PodStatus, t corev1.PodConditionType) *corev1.PodCondition {
	return object.PodCondition(&corev1.Pod{Status: *st}, t)
}

// wants fails unless the container runs with the limits and the status says so.
func (r *rig) wants(p *corev1.Pod, milli, bytes int64, restarts int32) {
	r.t.Helper()
	st := r.status(p.UID).ContainerStatuses[0]
	got := r.fake.Limits(st.ContainerID[len(machine.RuntimeScheme):])
	if got.CPUQuota != milli*100 || got.MemoryBytes != bytes {
		r.t.Errorf("limits are %d us, %d bytes; want %d, %d", got.CPUQuota, got.MemoryBytes, milli*100, bytes)
	}
	if l := st.Resources.Limits; l.Cpu().MilliValue() != milli || l.Memory().Value() != bytes {
		r.t.Errorf("the status says %v, want %dm, %d", l, milli, bytes)
	}
	if l := st.AllocatedResources; l.Cpu().MilliValue() != milli || l.Memory().Value() != bytes {
		r.t.Errorf("allocated are %v, want %dm, %d", l, milli, bytes)
	}
	if st.RestartCount != restarts {
		r.t.Errorf("%d restarts, want %d", st.RestartCount, restarts)
	}
	for _, t := range []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress} {
		if c := condition(r.status(p.UID), t); c != nil {
			r.t.Errorf("condition %+v", c)
		}
	}
}

func TestResizeInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer func() { r.stop() }()
		p := pod("a", sized("100m", "64Mi"))
		r.full(p)
		r.wants(p, 100, 64<<20, 0)
		p = r.resized(p, "200m", "128Mi")
		r.delta(p)
		r.wants(p, 200, 128<<20, 0)
		if st := r.status(p.UID); st.ObservedGeneration != p.Generation {
			t.Errorf("observed generation %d, want %d", st.ObservedGeneration, p.Generation)
		}
		p = r.resized(p, "50m", "32Mi")
		r.delta(p)
		r.wants(p, 50, 32<<20, 0)
		r.stop()
		r.start()
		p.Status = *r.agentless(p)
		r.full(p)
		r.wants(p, 50, 32<<20, 0)
		if n := r.fake.Calls("UpdateContainer"); n != 2 {
			t.Errorf("%d updates, want 2", n)
		}
	})
}

// agentless is the pod's status as its manager has it.
func (r *rig) agentless(p *corev1.Pod) *corev1.PodStatus { return r.last[p.UID] }

// TestResizeRestarts: a container that says so starts again with what it was
// resized to, even where its policy would let it end.
func TestResizeRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		p := pod("a", sized("100m", "64Mi"), policy(corev1.RestartPolicyOnFailure), func(p *corev1.Pod) {
			p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{
				{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.NotRequired}, {ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer},
			}
		})
		r.full(p)
		p = r.resized(p, "150m", "64Mi")
		r.delta(p)
		r.wants(p, 150, 64<<20, 0)
		p = r.resized(p, "150m", "96Mi")
		r.delta(p)
		r.wants(p, 150, 96<<20, 1)
		if l := r.status(p.UID).ContainerStatuses[0].LastTerminationState.Terminated; l == nil || l.ExitCode != 0 {
			t.Errorf("last state %+v", l)
		}
	})
}

func TestResizeWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		r.mu.Lock()
		most := r.node.Allocatable.Cpu().MilliValue()
		r.mu.Unlock()
		milli := func(n int64) string { return resource.NewMilliQuantity(n, resource.DecimalSI).String() }
		a, b := pod("a", sized(milli(most/2), "8Mi")), pod("b", sized(milli(most/2), "8Mi"))
		r.full(a, b)
		pending := func(p *corev1.Pod, reason string) {
			t.Helper()
			st := r.status(p.UID)
			c := condition(st, corev1.PodResizePending)
			if c == nil || c.Reason != reason || c.Message == "" || c.ObservedGeneration != p.Generation || condition(st, corev1.PodResizeInProgress) != nil {
				t.Errorf("conditions %+v, want %s", st.Conditions, reason)
			}
			if got := st.ContainerStatuses[0].AllocatedResources.Cpu().MilliValue(); got != most/2 {
				t.Errorf("allocated %dm, want %dm", got, most/2)
			}
		}
		a = r.resized(a, milli(most+1), "8Mi")
		r.delta(a)
		pending(a, corev1.PodReasonInfeasible)
		a = r.resized(a, milli(most), "8Mi")
		r.delta(a)
		pending(a, corev1.PodReasonDeferred)
		r.delta(deleted(b, 0))
		r.wants(a, most, 8<<20, 0)
		for reason, want := range map[string]int32{"ResizeDeferred": 1, "ResizeInfeasible": 1, "ResizeCompleted": 1} {
			if n := r.count(reason); n != want {
				t.Errorf("%d events %s, want %d", n, reason, want)
			}
		}
	})
}

func TestResizeIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := 2
		r := newRig(t, runtime.FakeConfig{Fail: func(op, _ string) error {
			if op == "UpdateContainer" && fails > 0 {
				fails--
				return errors.New("device or resource busy")
			}
			return nil
		}})
		defer r.stop()
		p := pod("a", sized("100m", "64Mi"))
		r.full(p)
		p = r.resized(p, "200m", "64Mi")
		r.delta(p)
		c := condition(r.status(p.UID), corev1.PodResizeInProgress)
		if c == nil || c.Reason != corev1.PodReasonError || c.Message != "device or resource busy" {
			t.Errorf("condition %+v", c)
		}
		time.Sleep(5 * time.Second)
		r.wants(p, 200, 64<<20, 0)
		if n := r.count("ResizeError"); n != 1 {
			t.Errorf("%d events ResizeError", n)
		}
	})
}

// TestResizeGoesOnAfterARestart: an agent that ends in the middle of it leaves the
// rest to the next one.
func TestResizeGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		r := newRig(t, runtime.FakeConfig{Fail: func(op, _ string) error {
			if op == "UpdateContainer" && broken {
				return errors.New("broken")
			}
			return nil
		}})
		defer func() { r.stop() }()
		p := pod("a", sized("100m", "64Mi"))
		r.full(p)
		p = r.resized(p, "200m", "128Mi")
		r.delta(p)
		r.stop()
		broken = false
		p.Status = *r.agentless(p)
		r.start()
		r.full(p)
		r.wants(p, 200, 128<<20, 0)
	})
}

// TestVolumesFollowLabels: what a volume tells of a pod's labels changes with them.
func TestVolumesFollowLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		p := pod("a", func(p *corev1.Pod) {
			p.Labels = map[string]string{"tier": "one"}
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
				Items: []corev1.DownwardAPIVolumeFile{{Path: "tier", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.labels['tier']"}}},
			}}}}
		})
		r.full(p)
		for _, want := range []string{"one", "two", "three"} {
			p = p.DeepCopy()
			p.Labels["tier"] = want
			r.delta(p)
			b, err := os.ReadFile(filepath.Join(r.root, "pods", string(p.UID), "volumes/kubernetes.io~downward-api/v/tier"))
			if err != nil || string(b) != want {
				t.Errorf("the volume says %q, %v; want %q", b, err, want)
			}
		}
	})
}
