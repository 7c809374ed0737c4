package stream

import (
	"fmt"
	"maps"
	"net/http"
	"runtime/metrics"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// metricsType is Prometheus' text format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// metrics answers what a scraper of nodes asks: what runs here, under the names
// that a kubelet gives it (Kubernetes, "Kubernetes Metrics Reference"), and how
// this process is.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", metricsType)
	running, containers := 0, map[string]int{"running": 0, "waiting": 0, "exited": 0}
	for _, p := range s.cfg.Pods.Pods() {
		if p.Status.Phase == corev1.PodRunning {
			running++
		}
		for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for i := range list {
				containers[stateOf(&list[i])]++
			}
		}
	}
	gauge := func(name, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name) }
	gauge("kubelet_running_pods", "Pods of the node that run.")
	fmt.Fprintf(w, "kubelet_running_pods %d\n", running)
	gauge("kubelet_running_containers", "Containers of the node's pods by their state.")
	for _, state := range slices.Sorted(maps.Keys(containers)) {
		fmt.Fprintf(w, "kubelet_running_containers{container_state=%q} %d\n", state, containers[state])
	}
	own := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(own)
	gauge("go_goroutines", "Goroutines of the agent's process.")
	fmt.Fprintf(w, "go_goroutines %d\n", own[0].Value.Uint64())
	gauge("go_memstats_alloc_bytes", "Bytes of the heap in use.")
	fmt.Fprintf(w, "go_memstats_alloc_bytes %d\n", own[1].Value.Uint64())
	if s.cfg.Metrics != nil {
		s.cfg.Metrics(w)
	}
}

func stateOf(c *corev1.ContainerStatus) string {
	switch {
	case c.State.Running != nil:
		return "running"
	case c.State.Terminated != nil:
		return "exited"
	}
	return "waiting"
}
