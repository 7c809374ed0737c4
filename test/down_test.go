package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

const webPods = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers: [{name: web, image: "trireme.local/web:1"}]
`

// TestKeepThenDown: down --keep leaves the containers running and the next up
// adopts them; down leaves nothing behind.
func TestKeepThenDown(t *testing.T) {
	h := ownMachines(t, 1)[0]
	if err := bringUp(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, h: h, namespace: "default"}
	k.apply(webPods)
	k.must("rollout", "status", "deployment/web", "--timeout=60s")
	before := k.must("get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].containerID}{"\n"}{end}`)
	uid := podUID(k, k.must("get", "pods", "-o", "jsonpath={.items[0].metadata.name}"))

	if _, err := h.Trireme(t.Context(), "down", "--keep", "--root", h.Root); err != nil {
		t.Fatal(err)
	}
	<-h.Ended()
	running := pidsOf(t, uid, "web")
	if len(running) != 1 {
		t.Fatalf("after down --keep the pod has processes %v", running)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, h, 20*time.Second, "the pods are ready again", func() error {
		_, err := k.run(t.Context(), "", "wait", "--for=condition=Ready", "pods", "--all", "--timeout=1s")
		return err
	})
	after := k.must("get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].containerID}{"\n"}{end}`)
	if before != after {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if now := pidsOf(t, uid, "web"); len(now) != 1 || now[0] != running[0] {
		t.Errorf("the process was %v and is %v", running, now)
	}

	if _, err := h.Trireme(t.Context(), "down", "--root", h.Root); err != nil {
		t.Fatal(err)
	}
	leftovers(t, h, uid)
}

// leftovers fails the test for anything that down left on the machine.
func leftovers(t *testing.T, h *cluster.Host, uid string) {
	t.Helper()
	if pids := pidsOf(t, uid, ""); len(pids) > 0 {
		t.Errorf("processes of a pod are left: %v", pids)
	}
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range cmdlines {
		if b, err := os.ReadFile(p); err == nil && strings.Contains(string(b), h.Root) {
			t.Errorf("a process is left: %s", strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), h.Root) {
		t.Errorf("mounts are left below %s", h.Root)
	}
	if _, err := os.Stat(h.Root); !os.IsNotExist(err) {
		t.Errorf("the state folder is left: %v", err)
	}
	for _, c := range []struct{ what, cmd, bad string }{
		{"links", "ip -o link show type veth", "trireme"},
		{"links", "ip -o link", "trireme"},
		{"routes", "ip route", "10.1"},
		{"tables", "nft list tables", "trireme"},
		{"namespaces", "ip netns", "cni-"},
	} {
		out, err := h.Run(t.Context(), "sh", "-c", c.cmd)
		if err != nil || strings.Contains(out, c.bad) {
			t.Errorf("%s are left: %v\n%s", c.what, err, out)
		}
	}
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, uid) {
			t.Errorf("a cgroup is left: %s", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
