package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const schedulerConfig = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- {schedulerName: default-scheduler}
- schedulerName: lab
  pluginConfig:
  - {name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}
  - name: NodeAffinity
    args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: room, operator: In, values: [lab]}]}]}}}
`

// TestSchedulerProfiles: a configuration that cannot be honoured starts nothing; pods are placed by the profile that they name, and who waits is told
// what would change that.
func TestSchedulerProfiles(t *testing.T) {
	h := ownMachines(t, 1)[0]
	file := filepath.Join(t.TempDir(), "scheduler.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.ReplaceAll(schedulerConfig, "MostAllocated", "Tightest"))
	out, err := h.Trireme(t.Context(), "up", "--root", h.Root, "--scheduler-config", file)
	if want := "profiles[1].pluginConfig[0].args.scoringStrategy.type"; err == nil || !strings.Contains(out+err.Error(), want) {
		t.Fatalf("up names no %s: %v: %s", want, err, out)
	}
	write(schedulerConfig)
	if err := bringUp(t.Context(), h, "--scheduler-config", file); err != nil {
		t.Fatal(err)
	}
	k := newClient(t, h)
	pod := func(name, scheduler, cpu string) {
		k.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  schedulerName: %s
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: %q, command: [sleep, "600"], resources: {requests: {cpu: %s}}}]
`, name, scheduler, busybox, cpu))
	}
	pod("picky", "lab", "1m")
	pod("large", "default-scheduler", "1000")
	says := func(pod, want string) {
		t.Helper()
		await(t, h, 20*time.Second, pod+" says why it waits", func() error {
			out := k.must("get", "events", "--field-selector", "reason=FailedScheduling,involvedObject.name="+pod, "-o", "jsonpath={.items[*].message}")
			if !strings.Contains(out, want) {
				return fmt.Errorf("it says %q", out)
			}
			return nil
		})
	}
	says("picky", "1 node(s) didn't match scheduler-enforced node affinity")
	says("large", " more cpu on "+h.Name+".")
	if out, err := h.Trireme(t.Context(), "why", "large", "--namespace", k.namespace); err != nil || !strings.Contains(out, "It would run with ") {
		t.Errorf("why: %v: %s", err, out)
	}
	k.must("label", "node", h.Name, "room=lab")
	k.must("wait", "pod/picky", "--for=condition=Ready", "--timeout=30s")
}
