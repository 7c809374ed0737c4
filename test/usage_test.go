package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"trireme/internal/agent/stream"
)

// TestUsage: what a pod uses of CPU, memory, disk and network, as scrapers and
// dashboards ask kubelets for it.
func TestUsage(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	k.pod("eager", "", "")
	k.ready("eager")
	k.sh("eager", "dd if=/dev/zero of=/much bs=1M count=5 2>/dev/null; wget -qO /dev/null http://kubernetes.default.svc:443 || true")
	node := "/api/v1/nodes/" + h.Name + "/proxy"
	await(t, h, 40*time.Second, "the pod's figures are told", func() error {
		var sum stream.Summary
		if err := json.Unmarshal([]byte(k.must("get", "--raw", node+"/stats/summary")), &sum); err != nil {
			return err
		}
		if fs := sum.Node.FS; fs == nil || *fs.CapacityBytes == 0 || *fs.Inodes == 0 || sum.Node.Runtime.ImageFS == nil {
			return fmt.Errorf("the node's disks: %+v", sum.Node)
		}
		for _, p := range sum.Pods {
			if p.PodRef.Name != "eager" || p.PodRef.Namespace != k.namespace {
				continue
			}
			if p.Network == nil || p.Network.TxBytes == 0 || p.Network.Interfaces[0].Name != "eth0" {
				return fmt.Errorf("its network: %+v", p.Network)
			}
			if len(p.Containers) != 1 || p.Containers[0].RootFS == nil || *p.Containers[0].RootFS.UsedBytes < 5<<20 {
				return fmt.Errorf("its containers: %+v", p.Containers)
			}
			return nil
		}
		return fmt.Errorf("the pod is not listed")
	})
	metrics := k.must("get", "--raw", node+"/metrics/cadvisor")
	for _, name := range []string{
		"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_fs_usage_bytes",
		"container_network_receive_bytes_total", "container_network_transmit_packets_total",
	} {
		ours := func(line string) bool {
			return strings.HasPrefix(line, name+"{") && strings.Contains(line, `pod="eager"`) && strings.Contains(line, `namespace="`+k.namespace+`"`)
		}
		found := false
		for line := range strings.Lines(metrics) {
			found = found || ours(line) && !strings.Contains(line, "} 0 ")
		}
		if !found {
			t.Errorf("no %s of the pod, or 0", name)
		}
	}
}
