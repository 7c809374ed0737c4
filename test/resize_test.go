package test

import (
	"strings"
	"testing"
)

// TestResize changes what a running pod may use, as kubectl patch does, and reads
// from inside what the kernel makes of it.
func TestResize(t *testing.T) {
	k := newClient(t, machine(t))
	k.must("apply", "-f", "testdata/resize.yaml")
	k.must("wait", "--for=condition=Ready", "pod/sized", "--timeout=60s")
	const read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || { cat /sys/fs/cgroup/memory.max; cut -d' ' -f1 /sys/fs/cgroup/cpu.max; }"
	limits := func(c, want string) {
		t.Helper()
		if got := strings.Join(strings.Fields(k.must("exec", "sized", "-c", c, "--", "sh", "-c", read)), " "); got != want {
			t.Errorf("limits of %s are %q, want %q", c, got, want)
		}
	}
	limits("main", "67108864 20000")
	limits("side", "33554432 10000")
	patch := func(containers, resources string) string {
		return `{"spec":{"` + containers + `":[{"name":"` + map[string]string{"containers": "main", "initContainers": "side"}[containers] + `","resources":` + resources + `}]}}`
	}
	resize := func(containers, resources string) (string, error) {
		return k.run(t.Context(), "", "patch", "pod", "sized", "--subresource=resize", "-p", patch(containers, resources))
	}
	status := func(path string) string { return k.must("get", "pod", "sized", "-o", "jsonpath="+path) }
	statuses := map[string]string{"containers": "containerStatuses", "initContainers": "initContainerStatuses"}
	change := func(containers, resources, name, want string) {
		t.Helper()
		if out, err := resize(containers, resources); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		k.must("wait", "--for=jsonpath={.status."+statuses[containers]+"[0].resources.limits."+name+"}="+want, "pod/sized", "--timeout=60s")
	}
	change("containers", `{"requests":{"cpu":"300m"},"limits":{"cpu":"300m"}}`, "cpu", "300m")
	limits("main", "67108864 30000")
	change("initContainers", `{"requests":{"cpu":"50m","memory":"48Mi"},"limits":{"cpu":"50m","memory":"48Mi"}}`, "memory", "48Mi")
	limits("side", "50331648 5000")
	if got := status("{.status.containerStatuses[0].restartCount} {.status.initContainerStatuses[0].restartCount} {.status.containerStatuses[0].allocatedResources.cpu} " +
		"{.metadata.generation} {.status.observedGeneration}"); got != "0 0 300m 3 3" {
		t.Errorf("restarts, cpu and generations are %q", got)
	}
	// Another limit of main's memory wants a restart: it says so.
	change("containers", `{"requests":{"memory":"48Mi"},"limits":{"memory":"48Mi"}}`, "memory", "48Mi")
	limits("main", "50331648 30000")
	if got := status("{.status.containerStatuses[0].restartCount} {.status.initContainerStatuses[0].restartCount}"); got != "1 0" {
		t.Errorf("restarts are %s, want 1 0", got)
	}

	for _, tt := range []struct{ containers, resources, want string }{
		{"containers", `{"limits":{"memory":"96Mi"}}`, "Pod QOS Class may not change as a result of resizing"},
		{"containers", `{"requests":{"cpu":"2","memory":"48Mi"},"limits":{"cpu":"1"}}`, "must be less than or equal to cpu limit of 1"},
		{"containers", `{"requests":{"ephemeral-storage":"1Gi"}}`, "only cpu and memory resources are mutable"},
		{"containers", `{"limits":{"memory":null}}`, "resource limits cannot be removed"},
	} {
		if out, err := resize(tt.containers, tt.resources); err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v %s", tt.resources, err, out)
		}
	}
	if out, err := k.run(t.Context(), "", "patch", "pod", "sized", "-p", patch("containers", `{"requests":{"cpu":"1"}}`)); err == nil {
		t.Errorf("without the subresource: %s", out)
	}
	// More than the node has is never granted, and says so; what is asked next is.
	if out, err := resize("containers", `{"requests":{"cpu":"500"},"limits":{"cpu":"500"}}`); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	k.must("wait", "--for=jsonpath={.status.conditions[?(@.type==\"PodResizePending\")].reason}=Infeasible", "pod/sized", "--timeout=60s")
	limits("main", "50331648 30000")
	change("containers", `{"requests":{"cpu":"200m","memory":"64Mi"},"limits":{"cpu":"200m","memory":"64Mi"}}`, "memory", "64Mi")
	if got := status(`{.status.conditions[?(@.type=="PodResizePending")].reason}`); got != "" {
		t.Errorf("still pending: %s", got)
	}
	// A volume tells of what was granted.
	k.must("wait", "--for=condition=Ready", "pod/sized", "--timeout=60s")
	if got := k.must("exec", "sized", "-c", "main", "--", "sh", "-c", "until grep -q 67108864 /facts/memory; do sleep 0.1; done; cat /facts/memory"); !strings.HasSuffix(got, "67108864") { // kubectl may warn before it
		t.Errorf("the volume says %q", got)
	}
	k.must("delete", "pod", "sized", "--grace-period=1")
}
