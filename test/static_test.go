package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStaticPod: a manifest in a node's directory runs; kubectl sees it, and cannot
// end it; the file can. What is reserved of the node is not for pods.
func TestStaticPod(t *testing.T) {
	h := ownMachines(t, 1)[0]
	dir := t.TempDir()
	path := filepath.Join(dir, "web.yaml")
	write := func(image string) {
		t.Helper()
		err := os.WriteFile(path, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: c, image: \""+image+"\", imagePullPolicy: IfNotPresent, command: [sleep, \"1000\"]}]\n"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := bringUp(t.Context(), h, "--pod-manifest-path", dir, "--system-reserved", "cpu=250m,memory=256Mi", "--kube-reserved", "memory=128Mi"); err != nil {
		t.Fatal(err)
	}
	write(busybox)
	k := newClient(t, h)
	name := "web-" + h.Name
	in := func(args ...string) string { return k.must(append([]string{args[0], "-n", "default"}, args[1:]...)...) }
	in("wait", "--for=create", "pod/"+name, "--timeout=30s")
	in("wait", "--for=condition=Ready", "pod/"+name, "--timeout=90s")
	uid := func() string { return in("get", "pod", name, "-o", "jsonpath={.metadata.uid}") }
	container := func() string {
		return in("get", "pod", name, "-o", "jsonpath={.status.containerStatuses[0].containerID}")
	}
	first, runs := uid(), container()
	if out := in("exec", name, "--", "echo", "inside"); strings.TrimSpace(out) != "inside" {
		t.Errorf("exec: %q", out)
	}
	for _, args := range [][]string{{"delete", "pod", name}, {"delete", "pod", name, "--force", "--grace-period=0"}} {
		in(args...)
		in("wait", "--for=create", "pod/"+name, "--timeout=30s")
		in("wait", "--for=condition=Ready", "pod/"+name, "--timeout=30s")
		if now := uid(); now == first || container() != runs {
			t.Errorf("%v: the mirror is %s (was %s), the container %s (was %s)", args, now, first, container(), runs)
		}
		first = uid()
	}
	if out, err := k.run(t.Context(), "", "patch", "pod", name, "-n", "default", "--subresource=resize", "-p", `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"1m"}}}]}}`); err == nil || !strings.Contains(out, "static pods cannot be resized") {
		t.Errorf("resize: %v %s", err, out)
	}
	capacity := in("get", "node", h.Name, "-o", "jsonpath={.status.capacity.cpu} {.status.allocatable.cpu}")
	if f := strings.Fields(capacity); len(f) != 2 || !strings.HasSuffix(f[1], "750m") {
		t.Errorf("cpu of the node is %s, want 250m less allocatable", capacity)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	in("wait", "--for=delete", "pod/"+name, "--timeout=90s")
}
