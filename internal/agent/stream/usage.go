package stream

import (
	"bytes"
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/dataplane/link"
)

// families is what one answer shows, in order.
type families []*dto.MetricFamily

// add adds a family without samples and returns where they go.
func (f *families) add(name, help string, t dto.MetricType) *family {
	m := &dto.MetricFamily{Name: &name, Help: &help, Type: &t}
	*f = append(*f, m)
	return &family{m}
}

type family struct{ *dto.MetricFamily }

// sample adds a value; labels are names and values in turn. A zero time is left out.
func (f *family) sample(value float64, at metav1.Time, labels ...string) {
	m := &dto.Metric{}
	if !at.IsZero() {
		m.TimestampMs = proto.Int64(at.UnixMilli())
	}
	if f.GetType() == dto.MetricType_COUNTER {
		m.Counter = &dto.Counter{Value: &value}
	} else {
		m.Gauge = &dto.Gauge{Value: &value}
	}
	for i := 0; i+1 < len(labels); i += 2 {
		m.Label = append(m.Label, &dto.LabelPair{Name: &labels[i], Value: &labels[i+1]})
	}
	f.Metric = append(f.Metric, m)
}

// cpu and memory add what is known.
func (f *family) cpu(s *CPUStats, labels ...string) {
	if s != nil && s.UsageCoreNanoSeconds != nil {
		f.sample(float64(*s.UsageCoreNanoSeconds)/1e9, s.Time, labels...)
	}
}

func (f *family) memory(s *MemoryStats, labels ...string) {
	if s != nil && s.WorkingSetBytes != nil {
		f.sample(float64(*s.WorkingSetBytes), s.Time, labels...)
	}
}

func (f *family) swap(s *SwapStats, labels ...string) {
	if s != nil {
		f.sample(float64(*s.UsageBytes), s.Time, labels...)
	}
}

// resource answers /metrics/resource under a kubelet's names (Kubernetes, "Kubernetes
// Metrics Reference", and KEP-1916).
func (s *Server) resource(w http.ResponseWriter, r *http.Request) {
	s.usage(w, r, func(sum *Summary) families {
		var f families
		containerCPU := f.add("container_cpu_usage_seconds_total", "Cumulative cpu time consumed by the container in core-seconds", dto.MetricType_COUNTER)
		containerMemory := f.add("container_memory_working_set_bytes", "Current working set of the container in bytes", dto.MetricType_GAUGE)
		started := f.add("container_start_time_seconds", "Start time of the container since unix epoch in seconds", dto.MetricType_GAUGE)
		containerSwap := f.add("container_swap_usage_bytes", "Current amount of the container swap usage in bytes. Reported only on non-windows systems", dto.MetricType_GAUGE)
		containerSwapLimit := f.add("container_swap_limit_bytes", "Current amount of the container swap limit in bytes. Reported only on non-windows systems", dto.MetricType_GAUGE)
		nodeCPU := f.add("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds", dto.MetricType_COUNTER)
		nodeMemory := f.add("node_memory_working_set_bytes", "Current working set of the node in bytes", dto.MetricType_GAUGE)
		nodeSwap := f.add("node_swap_usage_bytes", "Current swap usage of the node in bytes. Reported only on non-windows systems", dto.MetricType_GAUGE)
		podCPU := f.add("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", dto.MetricType_COUNTER)
		podMemory := f.add("pod_memory_working_set_bytes", "Current working set of the pod in bytes", dto.MetricType_GAUGE)
		podSwap := f.add("pod_swap_usage_bytes", "Current amount of the pod swap usage in bytes. Reported only on non-windows systems", dto.MetricType_GAUGE)
		failed := f.add("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", dto.MetricType_GAUGE)
		nodeCPU.cpu(sum.Node.CPU)
		nodeMemory.memory(sum.Node.Memory)
		nodeSwap.swap(sum.Node.Swap)
		failed.sample(0, metav1.Time{})
		for i := range sum.Pods {
			p := &sum.Pods[i]
			pod := []string{"namespace", p.PodRef.Namespace, "pod", p.PodRef.Name}
			podCPU.cpu(p.CPU, pod...)
			podMemory.memory(p.Memory, pod...)
			podSwap.swap(p.Swap, pod...)
			for j := range p.Containers {
				c := &p.Containers[j]
				labels := append([]string{"container", c.Name}, pod...)
				containerCPU.cpu(c.CPU, labels...)
				containerMemory.memory(c.Memory, labels...)
				containerSwap.swap(c.Swap, labels...)
				if c.Swap != nil {
					containerSwapLimit.sample(float64(*c.Swap.UsageBytes+*c.Swap.AvailableBytes), c.Swap.Time, labels...)
				}
				started.sample(seconds(c.StartTime), metav1.Time{}, labels...)
			}
		}
		return f
	})
}

// cadvisor answers /metrics/cadvisor: the same figures under cAdvisor's names ("Monitoring
// cAdvisor with Prometheus"), which dashboards ask for. The machine is the one with the
// id "/"; a pod's own row has no container.
func (s *Server) cadvisor(w http.ResponseWriter, r *http.Request) {
	images := map[string]string{} // by namespace, pod and container
	for _, p := range s.cfg.Pods.Pods() {
		for _, c := range p.Spec.Containers {
			images[p.Namespace+"/"+p.Name+"/"+c.Name] = c.Image
		}
	}
	s.usage(w, r, func(sum *Summary) families {
		var f families
		cpu := f.add("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", dto.MetricType_COUNTER)
		memory := f.add("container_memory_working_set_bytes", "Current working set in bytes.", dto.MetricType_GAUGE)
		started := f.add("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", dto.MetricType_GAUGE)
		swap := f.add("container_memory_swap", "Container swap usage in bytes.", dto.MetricType_GAUGE)
		disk := f.add("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.", dto.MetricType_GAUGE)
		net := f.network()
		row := func(c *CPUStats, m *MemoryStats, labels ...string) {
			cpu.cpu(c, append([]string{"cpu", "total"}, labels...)...)
			memory.memory(m, labels...)
		}
		row(sum.Node.CPU, sum.Node.Memory, cadvisorLabels("/", "", "", PodRef{})...)
		for i := range sum.Pods {
			p := &sum.Pods[i]
			row(p.CPU, p.Memory, cadvisorLabels("/pod"+p.PodRef.UID, "", "", p.PodRef)...)
			net(p.Network, append([]string{"interface", "eth0"}, cadvisorLabels("/pod"+p.PodRef.UID, "", "", p.PodRef)...)...)
			for j := range p.Containers {
				c := &p.Containers[j]
				image := images[p.PodRef.Namespace+"/"+p.PodRef.Name+"/"+c.Name]
				labels := cadvisorLabels("/pod"+p.PodRef.UID+"/"+c.Name, c.Name, image, p.PodRef)
				row(c.CPU, c.Memory, labels...)
				swap.swap(c.Swap, labels...)
				started.sample(seconds(c.StartTime), metav1.Time{}, labels...)
				if c.RootFS != nil && c.RootFS.UsedBytes != nil {
					disk.sample(float64(*c.RootFS.UsedBytes), c.RootFS.Time, labels...)
				}
			}
		}
		return f
	})
}

// network adds the families of pods' links, and returns what adds a pod.
func (f *families) network() func(*NetworkStats, ...string) {
	type count struct {
		*family
		of func(link.Count) uint64
	}
	var received, sent []count
	for _, c := range []struct {
		name, what string
		of         func(link.Count) uint64
	}{
		{"bytes", "bytes", func(c link.Count) uint64 { return c.Bytes }},
		{"packets", "packets", func(c link.Count) uint64 { return c.Packets }},
		{"errors", "errors encountered", func(c link.Count) uint64 { return c.Errors }},
		{"packets_dropped", "packets dropped", func(c link.Count) uint64 { return c.Dropped }},
	} {
		received = append(received, count{f.add("container_network_receive_"+c.name+"_total", "Cumulative count of "+c.what+" while receiving", dto.MetricType_COUNTER), c.of})
		sent = append(sent, count{f.add("container_network_transmit_"+c.name+"_total", "Cumulative count of "+c.what+" while transmitting", dto.MetricType_COUNTER), c.of})
	}
	return func(s *NetworkStats, labels ...string) {
		if s == nil {
			return
		}
		for i := range received {
			received[i].sample(float64(received[i].of(s.traffic.Received)), s.Time, labels...)
			sent[i].sample(float64(sent[i].of(s.traffic.Sent)), s.Time, labels...)
		}
	}
}

func cadvisorLabels(id, container, image string, pod PodRef) []string {
	return []string{"container", container, "id", id, "image", image, "name", container, "namespace", pod.Namespace, "pod", pod.Name}
}

func seconds(t metav1.Time) float64 { return float64(t.UnixMilli()) / 1e3 }

// usage answers with what the node and its pods use.
func (s *Server) usage(w http.ResponseWriter, r *http.Request, show func(*Summary) families) {
	sum, err := s.cfg.Stats(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	var b bytes.Buffer
	for _, f := range show(sum) {
		if len(f.Metric) == 0 {
			continue // which the format does not allow
		}
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			http.Error(w, fmt.Sprintf("writing %s: %v", f.GetName(), err), http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", metricsType)
	if _, err := w.Write(b.Bytes()); err != nil {
		s.cfg.Log.Debug("answering a scraper", "client", r.RemoteAddr, "err", err)
	}
}
