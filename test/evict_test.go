package test

import (
	"strings"
	"testing"
)

// TestDiskLimits: a pod that writes more than its emptyDir or its container may hold
// is evicted, says why, and leaves the others alone.
func TestDiskLimits(t *testing.T) {
	k := newClient(t, machine(t))
	k.must("apply", "-f", "testdata/disk-limits.yaml")
	k.must("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
	for pod, dir := range map[string]string{"volume": "/data", "layer": "/tmp", "free": "/tmp"} {
		k.must("exec", pod, "--", "sh", "-c", "mkdir -p "+dir+" && dd if=/dev/zero of="+dir+"/much bs=1M count=20 2>/dev/null")
	}
	for pod, want := range map[string]string{
		"volume": `Usage of EmptyDir volume "data" exceeds the limit "10Mi".`,
		"layer":  "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi.",
	} {
		k.must("wait", "--for=jsonpath={.status.phase}=Failed", "pod/"+pod, "--timeout=90s")
		got := k.must("get", "pod", pod, "-o", `jsonpath={.status.reason}: {.status.message} {.status.conditions[?(@.type=="DisruptionTarget")].reason}`)
		if !strings.HasPrefix(got, "Evicted: "+want) || !strings.HasSuffix(got, "TerminationByKubelet") {
			t.Errorf("%s: %s", pod, got)
		}
	}
	if got := k.must("get", "pod", "free", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].restartCount}"); got != "Running 0" {
		t.Errorf("the pod without limits is %s", got)
	}
	k.must("delete", "pod", "--all", "--grace-period=1")
}
