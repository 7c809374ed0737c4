package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const gangGroup = `
apiVersion: scheduling.k8s.io/v1alpha3
kind: PodGroup
metadata: {name: %s}
spec: {schedulingPolicy: {gang: {minCount: %d}}}
---`

const gangPod = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s-%[2]d, labels: {gang: %[1]s}}
spec:
  schedulingGroup: {podGroupName: %[1]s}
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: ` + busybox + `, command: [sleep, "1000"], resources: {requests: {example.com/gangseats: 1}, limits: {example.com/gangseats: 1}}}
---`

// TestGang: pods of a group wait for each other and for a place for all, say so, and go together; of two that have no place
// beside each other one goes, whole.
func TestGang(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	node := k.must("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	patch := func(with string) {
		k.must("patch", "node", node, "--subresource=status", "--type=merge", "-p", `{"status":{"capacity":{"example.com/gangseats":`+with+`}}}`)
	}
	patch(`"3"`)
	defer patch("null")
	placed := func(gang string) int {
		return len(strings.Fields(k.must("get", "pods", "-l", "gang="+gang, "-o", "jsonpath={.items[*].spec.nodeName}")))
	}
	says := func(pod, want string) {
		t.Helper()
		await(t, h, 20*time.Second, pod+" says "+want, func() error {
			if out := k.must("get", "pod", pod, "-o", `jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}`); !strings.Contains(out, want) {
				return fmt.Errorf("it says %q", out)
			}
			return nil
		})
	}
	all := fmt.Sprintf(gangGroup, "crew", 4)
	for i := range 4 {
		all += fmt.Sprintf(gangPod, "crew", i)
	}
	file := filepath.Join(t.TempDir(), "crew.yaml")
	if err := os.WriteFile(file, []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	short := "gang crew needs 4 pods placed together, 3 would fit: 0/1 nodes are available: 1 Insufficient example.com/gangseats."
	if out, err := h.Trireme(t.Context(), "plan", "-f", file, "--namespace", k.namespace); err == nil || !strings.Contains(out, "0 of 4 pods would get a node") || !strings.Contains(out, short) {
		t.Errorf("the plan of a gang that does not fit: %v\n%s", err, out)
	}

	k.apply(fmt.Sprintf(gangPod, "crew", 0))
	says("crew-0", "pod group crew does not exist")
	k.apply(fmt.Sprintf(gangGroup, "crew", 4) + fmt.Sprintf(gangPod, "crew", 1))
	says("crew-0", "gang crew: 2 of 4 pods exist")
	k.apply(all)
	says("crew-3", short)
	if n := placed("crew"); n != 0 {
		t.Errorf("%d pods of a gang that waits have nodes", n)
	}
	if out := k.must("get", "podgroups", "crew", "--no-headers"); !strings.HasPrefix(strings.Join(strings.Fields(out), " "), "crew Gang 4 False ") {
		t.Errorf("kubectl get podgroups: %s", out)
	}
	if out, err := h.Trireme(t.Context(), "why", "crew-1", "--namespace", k.namespace); err != nil || !strings.Contains(out, "placed with others of its group: "+short) {
		t.Errorf("trireme why: %v\n%s", err, out)
	}
	patch(`"4"`)
	k.must("wait", "--for=condition=PodGroupInitiallyScheduled", "podgroup/crew", "--timeout=20s")
	k.must("wait", "--for=condition=Ready", "pods", "-l", "gang=crew", "--timeout=30s")

	k.must("delete", "pods,podgroups", "--all")
	both := fmt.Sprintf(gangGroup, "left", 3) + fmt.Sprintf(gangGroup, "right", 3)
	for i := range 3 {
		both += fmt.Sprintf(gangPod, "left", i) + fmt.Sprintf(gangPod, "right", i)
	}
	k.apply(both)
	await(t, h, 20*time.Second, "one of two gangs", func() error {
		if n := placed("left") + placed("right"); n != 3 {
			return fmt.Errorf("%d pods have nodes", n)
		}
		return nil
	})
	goes, waits := "left", "right"
	if placed("left") == 0 {
		goes, waits = waits, goes
	}
	if n := placed(goes); n != 3 {
		t.Fatalf("%s has %d nodes, %s %d", goes, n, waits, placed(waits))
	}
	says(waits+"-0", "gang "+waits+" needs 3 pods placed together, 1 would fit")
	k.must("delete", "pods", "-l", "gang="+goes)
	k.must("wait", "--for=condition=PodGroupInitiallyScheduled", "podgroup/"+waits, "--timeout=20s")
}

// TestGangRefusals: what cannot be kept is an error that names it.
func TestGangRefusals(t *testing.T) {
	k := newClient(t, machine(t))
	for doc, want := range map[string]string{
		fmt.Sprintf(gangGroup, "none", 0): "spec.schedulingPolicy.gang.minCount: Invalid value: 0",
		"apiVersion: scheduling.k8s.io/v1alpha3\nkind: PodGroup\nmetadata: {name: a}\nspec: {schedulingPolicy: {gang: {minCount: 1}}, priorityClassName: system-node-critical}":                 "spec.priorityClassName: Forbidden: a group has the priority of its pods",
		"apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {scheduling: {schedulingPolicy: {gang: {}}}, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}": "spec.scheduling: Forbidden: is not supported: make a PodGroup and name it in template.spec.schedulingGroup",
	} {
		if out, err := k.run(t.Context(), doc, "create", "-f", "-"); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s", doc, err, out)
		}
	}
	k.apply(fmt.Sprintf(gangGroup, "crew", 2))
	if out, err := k.run(t.Context(), "", "patch", "podgroup", "crew", "--type=merge", "-p", `{"spec":{"schedulingConstraints":{"topology":[{"key":"zone"}]}}}`); err == nil || !strings.Contains(out, "spec.schedulingConstraints: Invalid value") || !strings.Contains(out, "field is immutable") {
		t.Errorf("another topology: %v\n%s", err, out)
	}
	k.must("patch", "podgroup", "crew", "--type=merge", "-p", `{"spec":{"schedulingPolicy":{"gang":{"minCount":3}}}}`)
	if out := k.must("get", "podgroup", "crew", "-o", "jsonpath={.spec.schedulingPolicy.gang.minCount} {.metadata.generation} {.spec.disruptionMode}"); out != "3 2 {\"single\":{}}" {
		t.Errorf("patched: %s", out)
	}
}
