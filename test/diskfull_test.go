package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trireme/test/cluster"
)

// TestDiskFull: the disk of a worker, and then of the manager, has no byte left. What
// runs goes on, an agent that starts adopts it, and when there is room again so does
// all the rest, without anybody's help but a restart of a manager that ended.
func TestDiskFull(t *testing.T) {
	hosts := ownMachines(t, 2)
	manager, worker := hosts[0], hosts[1]
	for _, h := range hosts {
		small(t, h, "1400m")
	}
	// Else pods would be evicted before it comes to that.
	calm := []string{"--eviction-hard", "memory.available<1Mi"}
	if err := bringUp(t.Context(), manager, calm...); err != nil {
		t.Fatal(err)
	}
	if err := worker.Join(t.Context(), manager, calm...); err != nil {
		t.Fatal(err)
	}
	if err := manager.NodeIs(t.Context(), worker, "True"); err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, h: manager, namespace: "default"}
	for _, h := range hosts {
		k.apply(onHost("web-"+h.Name, h))
		k.must("wait", "--for=condition=Ready", "pod/web-"+h.Name, "--timeout=60s")
	}
	answers := func(h *cluster.Host) error {
		_, err := curl(t.Context(), h, "http://"+k.must("get", "pod", "web-"+h.Name, "-o", "jsonpath={.status.podIP}")+":8080/healthz")
		return err
	}

	empty := fill(t, worker)
	if err := answers(worker); err != nil {
		t.Errorf("on a full disk: %v\n%s\n%s", err, k.must("get", "pod", "web-"+worker.Name, "-o", "jsonpath={.status.containerStatuses}"), k.must("get", "events"))
	}
	if err := worker.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := worker.Restart(); err != nil {
		t.Fatal(err)
	}
	k.apply(onHost("late", worker))
	await(t, manager, 30*time.Second, "a pod that finds no room says so", func() error {
		events := k.must("get", "events", "--field-selector", "involvedObject.name=late", "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(events, "no space left") {
			return fmt.Errorf("its events: %s", events)
		}
		return nil
	})
	if err := answers(worker); err != nil {
		t.Errorf("on a full disk, after the agent's start: %v", err)
	}
	empty()
	k.must("wait", "--for=condition=Ready", "pod/late", "--timeout=60s")
	same(t, k, worker)

	address := k.must("get", "pod", "web-"+manager.Name, "-o", "jsonpath={.status.podIP}")
	empty = fill(t, manager)
	stopped := writeUntilRefused(t, k)
	if _, err := curl(t.Context(), manager, "http://"+address+":8080/healthz"); err != nil {
		t.Errorf("on the manager's full disk: %v", err)
	}
	empty()
	if stopped {
		if err := manager.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	if err := manager.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.must("create", "configmap", "after", "--from-literal=a=b")
	same(t, k, manager)
	for _, h := range hosts {
		if err := answers(h); err != nil {
			t.Errorf("after all: %v", err)
		}
	}
}

// small puts the host's state on a file system of that size.
func small(t *testing.T, h *cluster.Host, size string) {
	t.Helper()
	disk := h.Root
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size="+size+",mode=755"); err != nil {
		t.Fatal(err)
	}
	h.Root = filepath.Join(disk, "state")
	if err := os.Mkdir(h.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", h.Name, h.LogTail(60))
		}
		if err := errors.Join(h.Down(context.WithoutCancel(t.Context())), syscall.Unmount(disk, 0), os.Remove(disk)); err != nil {
			t.Error(err)
		}
	})
}

func onHost(name string, h *cluster.Host) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  containers: [`+webContainer+`]
`, name, h.Name)
}

// fill leaves no byte on the host's disk, and returns what undoes it.
func fill(t *testing.T, h *cluster.Host) (undo func()) {
	t.Helper()
	path := filepath.Join(filepath.Dir(h.Root), "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// same fails the test if the host's first pod was restarted.
func same(t *testing.T, k *client, h *cluster.Host) {
	t.Helper()
	if n := k.must("get", "pod", "web-"+h.Name, "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); n != "0" {
		t.Errorf("the pod on %s was restarted %s times: %s", h.Name, n, k.must("get", "pod", "web-"+h.Name, "-o", "jsonpath={.status.containerStatuses[0].lastState}"))
	}
}

// writeUntilRefused writes until the manager's disk stops it, and says whether the
// manager has ended; in its last words, then, it says why.
func writeUntilRefused(t *testing.T, k *client) (ended bool) {
	t.Helper()
	value := strings.Repeat("x", 256<<10)
	for i := range 1000 {
		yaml := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: much}\ndata: {a: %q, n: %q}\n", value, fmt.Sprint(i))
		out, err := k.run(t.Context(), yaml, "apply", "--server-side", "-f", "-")
		if err == nil {
			continue
		}
		t.Logf("write %d: %s", i, out)
		for answers := false; !answers; {
			select {
			case <-k.h.Ended():
				if tail := k.h.LogTail(5); !strings.Contains(tail, "disk") {
					t.Errorf("the manager's last words do not name the disk:\n%s", tail)
				}
				return true
			case <-time.After(time.Second): // one that ends does not answer
				_, err := k.run(t.Context(), "", "get", "--raw", "/readyz")
				answers = err == nil
			}
		}
		return false
	}
	t.Fatal("writes go on on a full disk")
	return false
}
