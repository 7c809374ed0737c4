package cgroup

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/runtime"
)

func list(cpu, memory string) corev1.ResourceList {
	l := corev1.ResourceList{}
	if cpu != "" {
		l[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		l[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return l
}

func podOf(requests, limits corev1.ResourceList) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.UID = "p", "ns", "u1"
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}}
	return p
}

func TestContainerResources(t *testing.T) {
	node := Node{MemoryBytes: 8 << 30}
	for name, tt := range map[string]struct {
		pod  *corev1.Pod
		want runtime.Resources
	}{
		"best effort": {podOf(nil, nil), runtime.Resources{CPUShares: 2, OOMScoreAdj: 1000}},
		"guaranteed": {podOf(list("500m", "1Gi"), list("500m", "1Gi")),
			runtime.Resources{CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, MemoryBytes: 1 << 30, OOMScoreAdj: -997}},
		"burstable":                  {podOf(list("1", "2Gi"), nil), runtime.Resources{CPUShares: 1024, OOMScoreAdj: 750}},
		"burstable, all of the node": {podOf(list("1", "8Gi"), nil), runtime.Resources{CPUShares: 1024, OOMScoreAdj: 3}},
		"limit alone is the request": {podOf(nil, list("1m", "")),
			runtime.Resources{CPUShares: 2, CPUQuota: 1000, CPUPeriod: 100000, OOMScoreAdj: 999}},
	} {
		got := Container(tt.pod, &tt.pod.Spec.Containers[0], node)
		if got.CPUShares != tt.want.CPUShares || got.CPUQuota != tt.want.CPUQuota || got.CPUPeriod != tt.want.CPUPeriod ||
			got.MemoryBytes != tt.want.MemoryBytes || got.OOMScoreAdj != tt.want.OOMScoreAdj {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestPodLimitNeedsEveryContainersLimit(t *testing.T) {
	p := podOf(list("1", "1Gi"), list("1", "1Gi"))
	if r := Pod(p); r.MemoryBytes != 1<<30 || r.CPUQuota != 100000 {
		t.Errorf("got %+v", r)
	}
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "free"})
	if r := Pod(p); r.MemoryBytes != 0 || r.CPUQuota != 0 {
		t.Errorf("one container without limits: got %+v", r)
	}
}

func TestHugePages(t *testing.T) {
	l := list("1", "1Gi")
	l["hugepages-2Mi"], l["hugepages-1Gi"], l["hugepages-64Ki"] = resource.MustParse("8Mi"), resource.MustParse("2Gi"), resource.MustParse("128Ki")
	p := podOf(l, l)
	want := map[string]int64{"2MB": 8 << 20, "1GB": 2 << 30, "64KB": 128 << 10}
	if got := Container(p, &p.Spec.Containers[0], Node{MemoryBytes: 8 << 30}).HugePages; !maps.Equal(got, want) {
		t.Errorf("of the container: %v, want %v", got, want)
	}
	if got := Pod(p).HugePages; !maps.Equal(got, want) {
		t.Errorf("of the pod: %v, want %v", got, want)
	}
}

// TestPodLevelLimits: what is said of the pod wins, and its overhead comes on top.
func TestPodLevelLimits(t *testing.T) {
	p := podOf(list("1", "1Gi"), nil)
	p.Spec.Resources = &corev1.ResourceRequirements{Limits: list("2", "2Gi")}
	p.Spec.Overhead = list("500m", "1Gi")
	if r := Pod(p); r.MemoryBytes != 3<<30 || r.CPUQuota != 250000 {
		t.Errorf("got %+v", r)
	}
}

// The kernel's own tree, where this machine lets us write to it.
func TestTreeOnTheKernel(t *testing.T) {
	root := t.TempDir()
	tree, err := Open(root)
	if err != nil {
		t.Skipf("no control groups here: %v", err)
	}
	p := podOf(list("500m", "64Mi"), list("500m", "64Mi"))
	if err := tree.Create(p); err != nil {
		if os.IsPermission(err) || strings.Contains(err.Error(), "read-only") {
			t.Skipf("control groups cannot be made here: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Teardown(root); err != nil {
			t.Error(err)
		}
	})
	found := false
	for _, dir := range tree.dirs {
		for _, f := range []string{"memory.limit_in_bytes", "memory.max"} {
			if b, err := os.ReadFile(filepath.Join(dir, tree.Parent(p), f)); err == nil {
				found = true
				if got := strings.TrimSpace(string(b)); got != "67108864" {
					t.Errorf("%s is %s", f, got)
				}
			}
		}
	}
	if !found {
		t.Error("no memory limit was set")
	}
	if err := tree.Remove(p.UID); err != nil {
		t.Fatal(err)
	}
	for _, dir := range tree.dirs {
		if _, err := os.Stat(filepath.Join(dir, tree.Parent(p))); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
}

// TestBound: all pods together have what is not reserved, BestEffort ones the least
// weight; without a bound they have none.
func TestBound(t *testing.T) {
	root := t.TempDir()
	tree, err := Open(root)
	if err != nil {
		t.Skipf("no control groups here: %v", err)
	}
	most := list("1500m", "512Mi")
	if err := tree.Bound(most); err != nil {
		if os.IsPermission(err) || strings.Contains(err.Error(), "read-only") {
			t.Skipf("control groups cannot be made here: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Teardown(root); err != nil {
			t.Error(err)
		}
	})
	read := func(sub string, files ...string) string {
		for _, dir := range tree.dirs {
			for _, f := range files {
				if b, err := os.ReadFile(filepath.Join(dir, tree.name, sub, f)); err == nil {
					return strings.TrimSpace(string(b))
				}
			}
		}
		return ""
	}
	if got := read("", "memory.limit_in_bytes", "memory.max"); got != "536870912" {
		t.Errorf("memory of all pods is %s", got)
	}
	if got := read("", "cpu.shares", "cpu.weight"); got != "1536" && got != "59" {
		t.Errorf("weight of all pods is %s", got)
	}
	if got := read("besteffort", "cpu.shares", "cpu.weight"); got != "2" && got != "1" {
		t.Errorf("weight of BestEffort pods is %s", got)
	}
	if err := tree.Bound(nil); err != nil {
		t.Fatal(err)
	}
	if got := read("", "memory.limit_in_bytes", "memory.max"); got != "9223372036854771712" && got != "max" {
		t.Errorf("memory of all pods is %s without a bound", got)
	}
}
