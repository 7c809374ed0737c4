package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"trireme/internal/agent/host"
	"trireme/internal/agent/stream"
)

// moreSwap gives this machine swap of three times its memory for as long as the test
// runs: nothing but a hole in a file until somebody swaps.
func moreSwap(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "swap")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 3*host.MemoryBytes()); err != nil {
		t.Fatal(err)
	}
	do := func(line ...string) string {
		out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
		if err != nil {
			t.Skipf("swap cannot be had here: %s: %v: %s", line, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	device := do("losetup", "--find", "--show", file)
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	do("mkswap", device)
	do("swapon", device)
	t.Cleanup(func() {
		if out, err := exec.Command("swapoff", device).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// TestLimitedSwap: a Burstable pod's container has its part of the node's swap and lives
// beyond its memory; others have none. Both drivers.
func TestLimitedSwap(t *testing.T) {
	if files, err := filepath.Glob("/sys/fs/cgroup/*/memory*.swap.max"); err == nil && len(files) == 0 {
		if _, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"); err != nil {
			t.Skip("the kernel does not limit the swap of control groups")
		}
	}
	moreSwap(t)
	for _, driver := range []string{"cri", "native"} {
		t.Run(driver, func(t *testing.T) {
			h := ownMachines(t, 1)[0]
			if _, err := h.Trireme(t.Context(), "up", "--swap-behavior", "Always"); err == nil || !strings.Contains(err.Error(), `agent.swapBehavior: "Always" is neither NoSwap nor LimitedSwap`) {
				t.Errorf("nonsense was taken: %v", err)
			}
			if err := bringUp(t.Context(), h, "--swap-behavior", "LimitedSwap", "--runtime", driver); err != nil {
				t.Fatal(err)
			}
			limitedSwap(t, newClient(t, h))
		})
	}
}

func limitedSwap(t *testing.T, k *client) {
	capacity, err := strconv.ParseInt(k.must("get", "node", k.h.Name, "-o", "jsonpath={.status.nodeInfo.swap.capacity}"), 10, 64)
	if err != nil || capacity < 2*host.MemoryBytes() {
		t.Fatalf("the node's swap is %d, %v", capacity, err)
	}
	const limit, request = 32 << 20, 24 << 20
	share := int64(float64(request) / float64(host.MemoryBytes()) * float64(capacity))
	// 60 MB of shared memory are more than the limit of memory.
	write := "dd if=/dev/zero of=/dev/shm/much bs=1M count=60 && echo written; sleep 1000"
	k.box("burstable", "", `,"resources":{"requests":{"memory":"24Mi"},"limits":{"memory":"32Mi"}}`, write)
	k.box("guaranteed", "", `,"resources":{"limits":{"memory":"32Mi","cpu":"100m"}}`, "sleep 1000")
	k.box("besteffort", "", "", "sleep 1000")
	for _, pod := range []struct {
		name string
		swap int64
	}{{"burstable", share}, {"guaranteed", 0}} {
		k.must("wait", "--for=condition=Ready", "pod/"+pod.name, "--timeout=60s")
		group := groupOf(t, k, pod.name)
		want := []string{"memory.swap.max", strconv.FormatInt(pod.swap&^4095, 10)}
		if strings.Contains(group, "/memory/") {
			want = []string{"memory.memsw.limit_in_bytes", strconv.FormatInt((limit+pod.swap)&^4095, 10)}
		}
		if b, err := os.ReadFile(filepath.Join(group, want[0])); err != nil || strings.TrimSpace(string(b)) != want[1] {
			t.Errorf("%s: %s is %s, %v, want %s", pod.name, want[0], b, err, want[1])
		}
	}
	k.must("wait", "--for=condition=Ready", "pod/besteffort", "--timeout=60s")
	group := groupOf(t, k, "besteffort")
	for file, want := range map[string]string{"memory.swappiness": "0", "memory.swap.max": "0"} {
		if b, err := os.ReadFile(filepath.Join(group, file)); err == nil && strings.TrimSpace(string(b)) != want {
			t.Errorf("besteffort: %s is %s", file, b)
		}
	}
	node := "/api/v1/nodes/" + k.h.Name + "/proxy"
	await(t, k.h, 60*time.Second, "the burstable pod has swapped", func() error {
		if out := k.must("logs", "burstable"); !strings.Contains(out, "written") {
			return fmt.Errorf("it wrote %q, %s", out, k.must("get", "pods"))
		}
		var sum stream.Summary
		if err := json.Unmarshal([]byte(k.must("get", "--raw", node+"/stats/summary")), &sum); err != nil {
			return err
		}
		if s := sum.Node.Swap; s == nil || *s.UsageBytes == 0 {
			return fmt.Errorf("the node's swap: %+v", s)
		}
		for _, p := range sum.Pods {
			if p.PodRef.Name != "burstable" {
				continue
			}
			if p.Swap == nil || *p.Swap.UsageBytes < 16<<20 || len(p.Containers) != 1 || *p.Containers[0].Swap.UsageBytes+*p.Containers[0].Swap.AvailableBytes != uint64(share&^4095) {
				return fmt.Errorf("its swap: %+v of %d", p, share)
			}
			return nil
		}
		return fmt.Errorf("it is not listed")
	})
	for _, name := range []string{"container_swap_usage_bytes{container=\"c\"", "container_swap_limit_bytes{container=\"c\"", "pod_swap_usage_bytes{", "node_swap_usage_bytes "} {
		if out := k.must("get", "--raw", node+"/metrics/resource"); !strings.Contains(out, name) {
			t.Errorf("no %s", name)
		}
	}
}

// groupOf returns the memory group of the pod's container.
func groupOf(t *testing.T, k *client, pod string) string {
	t.Helper()
	uid := k.must("get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
	_, id, _ := strings.Cut(k.must("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].containerID}"), "://")
	for _, top := range []string{"/sys/fs/cgroup/memory/", "/sys/fs/cgroup/"} {
		for _, class := range []string{"", "/burstable", "/besteffort"} {
			found, err := filepath.Glob(top + "trireme*" + class + "/pod" + uid + "/" + id)
			if err == nil && len(found) == 1 {
				return found[0]
			}
		}
	}
	t.Fatalf("pod %s has no control group", pod)
	return ""
}
