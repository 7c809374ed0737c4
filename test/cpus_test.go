package test

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestExclusiveCPUs: a Guaranteed pod with a whole CPU runs on it alone; others are
// moved away as they run, and back when it has gone.
func TestExclusiveCPUs(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("one CPU cannot be shared out")
	}
	h := ownMachines(t, 1)[0]
	if err := bringUp(t.Context(), h, "--cpu-manager-policy", "static", "--system-reserved", "cpu=500m"); err != nil {
		t.Fatal(err)
	}
	k := newClient(t, h)
	pod := func(name, resources string) {
		t.Helper()
		k.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  containers: [{name: c, image: \"" + busybox +
			"\", imagePullPolicy: IfNotPresent, command: [sleep, \"1000\"], resources: {" + resources + "}}]\n")
		k.must("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
	}
	on := func(name, want string) {
		t.Helper()
		got := ""
		for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
			out := k.must("exec", name, "--", "grep", "Cpus_allowed_list", "/proc/1/status")
			if got = strings.TrimSpace(strings.TrimPrefix(out, "Cpus_allowed_list:")); got == want {
				return
			}
		}
		t.Errorf("%s runs on %q, want %q", name, got, want)
	}
	all, rest := "0-"+strconv.Itoa(runtime.NumCPU()-1), "0"
	if n := runtime.NumCPU(); n == 3 {
		rest = "0,2"
	} else if n > 3 {
		rest = "0,2-" + strconv.Itoa(n-1)
	}
	pod("shared", "")
	on("shared", all)
	pod("own", "limits: {cpu: \"1\", memory: 16Mi}")
	on("own", "1")
	on("shared", rest)
	pod("late", "requests: {cpu: 10m}")
	on("late", rest)
	k.must("delete", "pod", "own", "--grace-period=1")
	on("shared", all)
	if got := k.must("get", "pod", "shared", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); got != "0" {
		t.Errorf("it was started again %s times", got)
	}
	k.must("delete", "pod", "--all", "--grace-period=1")
}
