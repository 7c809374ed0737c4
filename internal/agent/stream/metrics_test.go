package stream

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

type podList struct {
	fakePods
	list []*corev1.Pod
}

func (p podList) Pods() []*corev1.Pod { return p.list }

func TestMetrics(t *testing.T) {
	running := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	exited := corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}
	s := New(Config{Metrics: func(w io.Writer) { io.WriteString(w, "more 1\n") }, Pods: podList{list: []*corev1.Pod{
		{Status: corev1.PodStatus{Phase: corev1.PodRunning, InitContainerStatuses: []corev1.ContainerStatus{exited}, ContainerStatuses: []corev1.ContainerStatus{running, running}}},
		{Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{}}}},
	}}})
	w := httptest.NewRecorder()
	s.metrics(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		"kubelet_running_pods 1\n", `kubelet_running_containers{container_state="exited"} 1`,
		`kubelet_running_containers{container_state="running"} 2`, `kubelet_running_containers{container_state="waiting"} 1`,
		"\nmore 1\n", "# TYPE go_goroutines gauge\ngo_goroutines ",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in:\n%s", want, w.Body)
		}
	}
	if strings.Contains(w.Body.String(), "go_memstats_alloc_bytes 0\n") {
		t.Error("a heap of no bytes")
	}
}
