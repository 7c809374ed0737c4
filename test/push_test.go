package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPush: an image that one machine has reaches a machine that joins later,
// without any registry, and is found no more once it is taken back.
func TestPush(t *testing.T) {
	hosts := ownMachines(t, 2)
	a, b := hosts[0], hosts[1]
	if err := bringUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if out, err := a.Trireme(t.Context(), "image", "push", "nobody.example/has:this"); err == nil || !strings.Contains(err.Error()+out, "no node has nobody.example/has:this") {
		t.Errorf("an image that nobody has: %v\n%s", err, out)
	}
	tar, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := a.Trireme(t.Context(), "image", "push", tar); err != nil || !strings.Contains(out, busybox) {
		t.Fatalf("push of a file: %v\n%s", err, out)
	}
	if out, err := a.Trireme(t.Context(), "image", "push", busybox); err != nil || !strings.Contains(out, "every node finds it") {
		t.Fatalf("push of what a node has: %v\n%s", err, out)
	}
	k := &client{t: t, h: a, namespace: "default"}
	if out := k.must("get", "images"); !strings.Contains(out, busybox) || !strings.Contains(out, "True") {
		t.Errorf("kubectl get images:\n%s", out)
	}
	join(t, a, b)
	pod := func(name, image, policy string) {
		k.must("run", name, "--image="+image, "--image-pull-policy="+policy, "--overrides", `{"spec":{"nodeName":"`+b.Name+`"}}`, "--command", "--", "sleep", "1000")
	}
	for _, policy := range []string{"IfNotPresent", "Always"} {
		name := "with-" + strings.ToLower(policy)
		pod(name, busybox, policy)
		k.must("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
	}
	// The manager restarts: what it holds is on its disk.
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := bringUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	await(t, a, 30*time.Second, "the restarted manager's registry answers", func() error {
		_, err := a.Trireme(t.Context(), "image", "push", busybox)
		return err
	})
	if out, err := a.Trireme(t.Context(), "image", "rm", busybox); err != nil {
		t.Fatalf("rm: %v\n%s", err, out)
	}
	if out, err := a.Trireme(t.Context(), "image", "rm", busybox); err == nil {
		t.Errorf("rm of what is gone: %s", out)
	}
	await(t, a, 10*time.Second, "the disk is free again", func() error {
		left, err := filepath.Glob(filepath.Join(a.Root, "images", "blobs", "sha256", "*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d blobs are left", len(left))
		}
		if _, absent := os.Stat(filepath.Join(a.Root, "images")); absent != nil {
			return absent
		}
		return err
	})
}
