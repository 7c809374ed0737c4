package stream

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/dataplane/link"
)

// TestUsage: the figures of the summary under the names that scrapers of kubelets ask for.
func TestUsage(t *testing.T) {
	at := metav1.NewTime(time.UnixMilli(1_700_000_000_500))
	written := uint64(8192)
	sum := &Summary{
		Node: NodeStats{CPU: CPU(at, 9_500_000_000, 0), Memory: Memory(at, 1<<30), Swap: Swap(at, 1<<20, 1<<30)},
		Pods: []PodStats{{
			PodRef: PodRef{Name: "web-0", Namespace: "default", UID: "u1"}, CPU: CPU(at, 1_500_000_000, 0), Memory: Memory(at, 4096), Swap: Swap(at, 1024, 8192),
			Network:    Network(at, link.Traffic{Received: link.Count{Bytes: 1, Packets: 2, Errors: 3, Dropped: 4}, Sent: link.Count{Bytes: 5, Packets: 6, Errors: 7, Dropped: 8}}),
			Containers: []ContainerStats{{Name: `we"b`, StartTime: at, CPU: CPU(at, 1_500_000_000, 0), Memory: Memory(at, 4096), Swap: Swap(at, 1024, 8192), RootFS: &FSStats{Time: at, UsedBytes: &written}}, {Name: "new", StartTime: at}},
		}},
	}
	s := New(Config{
		Pods: podList{list: []*corev1.Pod{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-0"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: `we"b`, Image: "img:1"}}},
		}}},
		Stats: func(context.Context) (*Summary, error) { return sum, nil },
	})
	for handler, want := range map[string]string{
		"/metrics/resource": `# HELP container_cpu_usage_seconds_total Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="we\"b",namespace="default",pod="web-0"} 1.5 1700000000500
# HELP container_memory_working_set_bytes Current working set of the container in bytes
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="we\"b",namespace="default",pod="web-0"} 4096 1700000000500
# HELP container_start_time_seconds Start time of the container since unix epoch in seconds
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="we\"b",namespace="default",pod="web-0"} 1.7000000005e+09
container_start_time_seconds{container="new",namespace="default",pod="web-0"} 1.7000000005e+09
# HELP container_swap_usage_bytes Current amount of the container swap usage in bytes. Reported only on non-windows systems
# TYPE container_swap_usage_bytes gauge
container_swap_usage_bytes{container="we\"b",namespace="default",pod="web-0"} 1024 1700000000500
# HELP container_swap_limit_bytes Current amount of the container swap limit in bytes. Reported only on non-windows systems
# TYPE container_swap_limit_bytes gauge
container_swap_limit_bytes{container="we\"b",namespace="default",pod="web-0"} 8192 1700000000500
# HELP node_cpu_usage_seconds_total Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 9.5 1700000000500
# HELP node_memory_working_set_bytes Current working set of the node in bytes
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 1.073741824e+09 1700000000500
# HELP node_swap_usage_bytes Current swap usage of the node in bytes. Reported only on non-windows systems
# TYPE node_swap_usage_bytes gauge
node_swap_usage_bytes 1.048576e+06 1700000000500
# HELP pod_cpu_usage_seconds_total Cumulative cpu time consumed by the pod in core-seconds
# TYPE pod_cpu_usage_seconds_total counter
pod_cpu_usage_seconds_total{namespace="default",pod="web-0"} 1.5 1700000000500
# HELP pod_memory_working_set_bytes Current working set of the pod in bytes
# TYPE pod_memory_working_set_bytes gauge
pod_memory_working_set_bytes{namespace="default",pod="web-0"} 4096 1700000000500
# HELP pod_swap_usage_bytes Current amount of the pod swap usage in bytes. Reported only on non-windows systems
# TYPE pod_swap_usage_bytes gauge
pod_swap_usage_bytes{namespace="default",pod="web-0"} 1024 1700000000500
# HELP resource_scrape_error 1 if there was an error while getting container metrics, 0 otherwise
# TYPE resource_scrape_error gauge
resource_scrape_error 0
`,
		"/metrics/cadvisor": `# HELP container_cpu_usage_seconds_total Cumulative cpu time consumed in seconds.
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{cpu="total",container="",id="/",image="",name="",namespace="",pod=""} 9.5 1700000000500
container_cpu_usage_seconds_total{cpu="total",container="",id="/podu1",image="",name="",namespace="default",pod="web-0"} 1.5 1700000000500
container_cpu_usage_seconds_total{cpu="total",container="we\"b",id="/podu1/we\"b",image="img:1",name="we\"b",namespace="default",pod="web-0"} 1.5 1700000000500
# HELP container_memory_working_set_bytes Current working set in bytes.
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="",id="/",image="",name="",namespace="",pod=""} 1.073741824e+09 1700000000500
container_memory_working_set_bytes{container="",id="/podu1",image="",name="",namespace="default",pod="web-0"} 4096 1700000000500
container_memory_working_set_bytes{container="we\"b",id="/podu1/we\"b",image="img:1",name="we\"b",namespace="default",pod="web-0"} 4096 1700000000500
# HELP container_start_time_seconds Start time of the container since unix epoch in seconds.
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="we\"b",id="/podu1/we\"b",image="img:1",name="we\"b",namespace="default",pod="web-0"} 1.7000000005e+09
container_start_time_seconds{container="new",id="/podu1/new",image="",name="new",namespace="default",pod="web-0"} 1.7000000005e+09
# HELP container_memory_swap Container swap usage in bytes.
# TYPE container_memory_swap gauge
container_memory_swap{container="we\"b",id="/podu1/we\"b",image="img:1",name="we\"b",namespace="default",pod="web-0"} 1024 1700000000500
# HELP container_fs_usage_bytes Number of bytes that are consumed by the container on this filesystem.
# TYPE container_fs_usage_bytes gauge
container_fs_usage_bytes{container="we\"b",id="/podu1/we\"b",image="img:1",name="we\"b",namespace="default",pod="web-0"} 8192 1700000000500
# HELP container_network_receive_bytes_total Cumulative count of bytes while receiving
# TYPE container_network_receive_bytes_total counter
container_network_receive_bytes_total{interface="eth0",container="",id="/podu1",image="",name="",namespace="default",pod="web-0"} 1 1700000000500
# HELP container_network_transmit_bytes_total Cumulative count of bytes while transmitting
# TYPE container_network_transmit_bytes_total counter
container_network_transmit_bytes_total{interface="eth0",container="",id="/podu1",image="",name="",namespace="default",pod="web-0"} 5 1700000000500
# HELP container_network_receive_packets_total Cumulative count of packets while receiving
# TYPE container_network_receive_packets_total counter
container_network_receive_packets_total{interface="eth0",container="",id="/podu1",image="",name="",namespace="default",pod="web-0"} 2 1700000000500
# HELP container_network_transmit_packets_total Cumulative count of packets while transmitting
# TYPE container_network_transmit_packets_total counter
container_network_transmit_packets_total{interface="eth0",container="",id="/podu1",image="",name="",namespace="default",pod="web-0"} 6 1700000000500
# HELP container_network_receive_errors_total Cumulative count of errors encountered while receiving
# TYPE container_network_receive_errors_total counter
container_network_receive_errors_total{interface="eth0",container="",id="/podu1",image="",name="",namespace="default",pod="web-0"} 3 1700000000500
# HELP container_network_transmit_errors_total Cumulative count of errors encountered while transmitting
# TYPE container_network_transmit_errors_total counter
container_network_transmit_errors_total{interface="eth0",container="",id="/podu1",image="",name="",namespace="default",pod="web-0"} 7 1700000000500
# HELP container_network_receive_packets_dropped_total Cumulative count of packets dropped while receiving
# TYPE container_network_receive_packets_dropped_total counter
container_network_receive_packets_dropped_total{interface="eth0",container="",id="/podu1",image="",name="",namespace="default",pod="web-0"} 4 1700000000500
# HELP container_network_transmit_packets_dropped_total Cumulative count of packets dropped while transmitting
# TYPE container_network_transmit_packets_dropped_total counter
container_network_transmit_packets_dropped_total{interface="eth0",container="",id="/podu1",image="",name="",namespace="default",pod="web-0"} 8 1700000000500
`,
	} {
		w := httptest.NewRecorder()
		s.mux.ServeHTTP(w, httptest.NewRequest("GET", handler, nil))
		if diff := cmp.Diff(want, w.Body.String()); diff != "" || w.Header().Get("Content-Type") != metricsType {
			t.Errorf("%s: %s (-want +got):\n%s", handler, w.Header(), diff)
		}
		down := New(Config{Pods: podList{}, Stats: func(context.Context) (*Summary, error) { return nil, errors.New("the runtime is away") }})
		w = httptest.NewRecorder()
		if down.mux.ServeHTTP(w, httptest.NewRequest("GET", handler, nil)); w.Code != http.StatusServiceUnavailable || w.Body.String() != "the runtime is away\n" {
			t.Errorf("%s without a runtime: %d %s", handler, w.Code, w.Body)
		}
	}
}
