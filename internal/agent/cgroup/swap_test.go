package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
)

// TestSwap: a Burstable pod's containers have the part of the node's swap that their
// requests are of its memory (Kubernetes, "Swap memory management").
func TestSwap(t *testing.T) {
	const gib = 1 << 30
	critical := podOf(list("", "2Gi"), list("", "4Gi"))
	priority := int32(object.CriticalPriority)
	critical.Spec.Priority = &priority
	static := podOf(list("", "2Gi"), list("", "4Gi"))
	static.Annotations = map[string]string{object.StaticSource: "file"}
	beside := podOf(list("", "2Gi"), list("", "4Gi"))
	beside.Spec.Containers = append(beside.Spec.Containers, corev1.Container{Name: "free"})
	limited := func(s Swap) Swap {
		s.Limited, s.Counted, s.Bytes = true, true, 16*gib
		return s
	}
	v1, v2 := limited(Swap{}), limited(Swap{Unified: true})
	for name, tt := range map[string]struct {
		pod  *corev1.Pod
		swap Swap
		want int64
	}{
		"a quarter of the memory, of the swap": {podOf(list("", "2Gi"), list("", "4Gi")), v2, 4 * gib},
		"version 1":                            {podOf(list("", "2Gi"), list("", "4Gi")), v1, 4 * gib},
		"more than the node":                   {podOf(list("", "32Gi"), list("", "64Gi")), v2, 16 * gib},
		"no limit":                             {podOf(list("", "2Gi"), nil), v2, 4 * gib},
		"no limit, version 1":                  {podOf(list("", "2Gi"), nil), v1, 0},
		"a container without limit":            {beside, v2, 4 * gib},
		"the same, version 1":                  {beside, v1, 0},
		"request is limit":                     {podOf(list("1", "2Gi"), list("2", "2Gi")), v2, 0},
		"no request":                           {podOf(list("1", ""), list("2", "2Gi")), v2, 0},
		"guaranteed":                           {podOf(list("1", "2Gi"), list("1", "2Gi")), v2, 0},
		"best effort":                          {podOf(nil, nil), v2, 0},
		"critical":                             {critical, v2, 0},
		"static":                               {static, v2, 0},
		"NoSwap":                               {podOf(list("", "2Gi"), list("", "4Gi")), Swap{Counted: true, Unified: true, Bytes: 16 * gib}, 0},
		"not counted":                          {podOf(list("", "2Gi"), list("", "4Gi")), Swap{Limited: true, Unified: true, Bytes: 16 * gib}, 0},
		"no swap":                              {podOf(list("", "2Gi"), list("", "4Gi")), Swap{Limited: true, Counted: true, Unified: true}, 0},
	} {
		got := Container(tt.pod, &tt.pod.Spec.Containers[0], Node{MemoryBytes: 8 * gib, Swap: tt.swap})
		if got.SwapBytes != tt.want {
			t.Errorf("%s: %d, want %d", name, got.SwapBytes, tt.want)
		}
		if _, said := got.Unified[swapFile]; said != (tt.swap.Counted && tt.swap.Unified) {
			t.Errorf("%s: version 2 is told %v", name, got.Unified)
		}
	}
	free := &beside.Spec.Containers[1]
	if got := Container(beside, free, Node{MemoryBytes: 8 * gib, Swap: v2}); got.SwapBytes != 0 || got.Unified[swapFile] != "0" {
		t.Errorf("a container that asks for nothing beside one that swaps: %+v", got)
	}
}

// TestAllowSwap: what the kernel cannot limit is refused, on both versions.
func TestAllowSwap(t *testing.T) {
	for name, tt := range map[string]struct {
		files []string // below the mount
		want  Swap
		err   string
	}{
		"version 1":                {[]string{"memory/cgroup.procs", "memory/memory.memsw.limit_in_bytes"}, Swap{Limited: true, Counted: true}, ""},
		"version 1, swapaccount=0": {[]string{"memory/cgroup.procs"}, Swap{Limited: true}, "no memory.memsw.limit_in_bytes"},
		"version 2":                {[]string{"cgroup.controllers", "trireme/memory.swap.max"}, Swap{Limited: true, Counted: true, Unified: true}, ""},
		"version 2, swapaccount=0": {[]string{"cgroup.controllers", "trireme/memory.max"}, Swap{Limited: true, Unified: true}, "no memory.swap.max"},
	} {
		mount := t.TempDir()
		for _, f := range tt.files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(mount, f)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(mount, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		tree, err := open(mount, usualRoot)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tree.AllowSwap(true)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && (!kind.Is(err, kind.Invalid) || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if _, err := tree.AllowSwap(false); err != nil {
			t.Errorf("%s: NoSwap: %v", name, err)
		}
	}
}

// TestSwapUsage: both versions' files of a container's group.
func TestSwapUsage(t *testing.T) {
	p := podOf(nil, nil)
	for name, files := range map[string]map[string]string{
		"version 1": {
			"memory/cgroup.procs": "", "memory/trireme/besteffort/podu1/id/memory.memsw.limit_in_bytes": "3000\n",
			"memory/trireme/besteffort/podu1/id/memory.limit_in_bytes": "2000\n", "memory/trireme/besteffort/podu1/id/memory.stat": "cache 7\nswap 400\n",
		},
		"version 2": {
			"cgroup.controllers": "", "trireme/besteffort/podu1/id/memory.swap.max": "1000\n", "trireme/besteffort/podu1/id/memory.swap.current": "400\n",
		},
	} {
		mount := t.TempDir()
		for f, text := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(mount, f)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(mount, f), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		tree, err := open(mount, usualRoot)
		if err != nil {
			t.Fatal(err)
		}
		if used, limit, ok := tree.SwapUsage(p, "id"); used != 400 || limit != 1000 || !ok {
			t.Errorf("%s: %d of %d, %v", name, used, limit, ok)
		}
		if _, _, ok := tree.SwapUsage(p, "other"); ok {
			t.Errorf("%s: another container's", name)
		}
	}
}
