package view

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

var (
	born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	id   = strings.Repeat("ab", 32)
)

func pod(phase corev1.PodPhase, state corev1.ContainerState) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "1", CreationTimestamp: metav1.NewTime(born), Labels: map[string]string{"a": "b"}},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{
			Name: "c", Image: "app:1", Command: []string{"run"}, Ports: []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080, Protocol: "TCP"}},
		}}},
		Status: corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{Name: "c", ContainerID: "containerd://" + id, State: state}}},
	}
}

// A container's state and words follow from its pod's status.
func TestStates(t *testing.T) {
	began := metav1.NewTime(born.Add(time.Minute))
	ended := &corev1.ContainerStateTerminated{ExitCode: 3, StartedAt: began, FinishedAt: metav1.NewTime(born.Add(2 * time.Minute))}
	waiting := pod(corev1.PodRunning, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}})
	waiting.Status.ContainerStatuses[0].LastTerminationState.Terminated = ended
	refused := pod(corev1.PodFailed, corev1.ContainerState{})
	refused.Status.ContainerStatuses, refused.Status.Reason = nil, "OutOfcpu"
	for want, p := range map[string]*corev1.Pod{
		"running: Up 4 minutes":                    pod(corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}),
		"exited: Exited (3) 3 minutes ago":         pod(corev1.PodFailed, corev1.ContainerState{Terminated: ended}),
		"created: Created (ErrImagePull)":          pod(corev1.PodPending, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no"}}),
		"restarting: Restarting (3) 3 minutes ago": waiting,
		"exited: Exited (125): OutOfcpu":           refused,
	} {
		c := Of(p, nil)[0]
		if s := c.Summary(born.Add(5 * time.Minute)); string(s.State)+": "+s.Status != want {
			t.Errorf("%s: %s; want %s", s.State, s.Status, want)
		}
	}
}

// A container is found by its name, its ids and what they begin with.
func TestNames(t *testing.T) {
	c := Of(pod(corev1.PodRunning, corev1.ContainerState{}), nil)[0]
	if c.Name != "k8s_c_p_ns" || c.ID != id || c.Labels()["io.kubernetes.pod.namespace"] != "ns" {
		t.Errorf("%s, %s, %v", c.Name, c.ID, c.Labels())
	}
	for ref, want := range map[string][2]bool{
		"k8s_c_p_ns": {true, false}, "/k8s_c_p_ns": {true, false}, id: {true, true}, id[:12]: {false, true}, "": {false, false}, "k8s": {false, false},
	} {
		if whole, prefix := c.Is(ref); whole != want[0] || prefix != want[1] {
			t.Errorf("%q: %t, %t; want %v", ref, whole, prefix, want)
		}
	}
	task := Of(c.Pod, &Task{ID: "t", Name: "web.1.t", ServiceName: "web"})[0]
	if task.Name != "web.1.t" || task.Labels()["com.docker.swarm.service.name"] != "web" {
		t.Errorf("%s, %v", task.Name, task.Labels())
	}
}

// Clients compute the share of processors from two samples; here both come at once.
func TestUsage(t *testing.T) {
	c := Of(pod(corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}), nil)[0]
	total, rate, memory := uint64(9e9), uint64(5e8), uint64(1<<20)
	sum := &stats.Summary{Pods: []stats.PodStats{{PodRef: stats.PodReference{UID: "1"}, Containers: []stats.ContainerStats{{
		Name: "c", CPU: &stats.CPUStats{UsageCoreNanoSeconds: &total, UsageNanoCores: &rate}, Memory: &stats.MemoryStats{WorkingSetBytes: &memory},
	}}}}}
	got := c.Usage(sum, born.Add(time.Hour), &corev1.Node{}, nil)
	used, could := got.CPUStats.CPUUsage.TotalUsage-got.PreCPUStats.CPUUsage.TotalUsage, got.CPUStats.SystemUsage-got.PreCPUStats.SystemUsage
	if used != rate || could != 1e9 || got.MemoryStats.Usage != memory {
		t.Errorf("used %d of %d, and %d bytes", used, could, got.MemoryStats.Usage)
	}
	top := Processes("PID USER COMMAND\n1 root sleep 10\n\n")
	if len(top.Processes) != 1 || top.Processes[0][2] != "sleep 10" {
		t.Errorf("%+v", top)
	}
}
