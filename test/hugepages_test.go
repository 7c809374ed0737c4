package test

import (
	"os"
	"strings"
	"testing"
)

// TestHugePages: a node's huge pages are its pods' to ask for, no more than there are,
// and a volume of them is there.
func TestHugePages(t *testing.T) {
	const knob = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
	was, err := os.ReadFile(knob)
	if err != nil {
		t.Skipf("the kernel has no huge pages of 2 MiB: %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(knob, was, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(knob, []byte("4"), 0); err != nil {
		t.Skipf("huge pages cannot be set aside here: %v", err)
	}
	if b, err := os.ReadFile(knob); err != nil || strings.TrimSpace(string(b)) != "4" {
		t.Skipf("the kernel gave %s huge pages of 4, %v", b, err)
	}
	h := ownMachines(t, 1)[0]
	if err := bringUp(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	k := newClient(t, h)
	if got := k.must("get", "node", h.Name, "-o", `jsonpath={.status.allocatable.hugepages-2Mi}`); got != "8Mi" {
		t.Errorf("the node has %s", got)
	}
	pod := func(name, size string) {
		k.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  containers: [{name: c, image: \"" + busybox +
			"\", imagePullPolicy: IfNotPresent, command: [sleep, \"1000\"], resources: {limits: {memory: 16Mi, hugepages-2Mi: " + size + "}}, volumeMounts: [{name: v, mountPath: /huge}]}]\n" +
			"  volumes: [{name: v, emptyDir: {medium: HugePages-2Mi}}]\n")
	}
	pod("fits", "6Mi")
	k.must("wait", "--for=condition=Ready", "pod/fits", "--timeout=60s")
	if out := k.must("exec", "fits", "--", "grep", " /huge ", "/proc/mounts"); !strings.Contains(out, "hugetlbfs") || !strings.Contains(out, "pagesize=2M") {
		t.Errorf("the volume: %s", out)
	}
	pod("more", "4Mi")
	k.must("wait", "--for=condition=PodScheduled=False", "pod/more", "--timeout=30s")
	if out := k.must("get", "pod", "more", "-o", `jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}`); !strings.Contains(out, "Insufficient hugepages-2Mi") {
		t.Errorf("why it waits: %s", out)
	}
	k.must("delete", "pod", "fits", "--grace-period=1")
	k.must("wait", "--for=condition=Ready", "pod/more", "--timeout=60s")
	k.must("delete", "pod", "more", "--grace-period=1")
	if out, err := k.run(t.Context(), "", "run", "bad", "--image="+busybox, `--overrides={"spec":{"containers":[{"name":"bad","image":"x","resources":{"requests":{"hugepages-2Mi":"2Mi"},"limits":{"hugepages-2Mi":"2Mi"}}}]}}`); err == nil || !strings.Contains(out, "HugePages require cpu or memory") {
		t.Errorf("nothing but huge pages: %v %s", err, out)
	}
}
