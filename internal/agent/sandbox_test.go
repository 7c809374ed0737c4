package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/sandbox"
	"trireme/internal/runtime"
)

// TestFetchFails: a pod whose URIs cannot be fetched fails with the reason, and nothing of it
// is tried again.
func TestFetchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer func() { r.stop() }()
		p := pod("a", policy(corev1.RestartPolicyNever))
		if err := sandbox.Set(p, sandbox.Place{Agent: "A", Framework: "F", Executor: "e"}, []sandbox.URI{{Value: "gopher://x/y"}}); err != nil {
			t.Fatal(err)
		}
		sandbox.Mount(&p.Spec.Containers[0], "")
		r.full(p)
		time.Sleep(time.Minute)
		st := r.status(p.UID)
		if st.Phase != corev1.PodFailed || st.Reason != sandbox.ReasonFetch || !strings.Contains(st.Message, "gopher://x/y") {
			t.Errorf("%s, %s: %s", st.Phase, st.Reason, st.Message)
		}
		if n := r.fake.Calls("CreateContainer"); n != 0 || r.count(sandbox.ReasonFetch) != 1 {
			t.Errorf("%d containers, %d events", n, r.count(sandbox.ReasonFetch))
		}
		dir := filepath.Join(r.root, "mesos/slaves/A/frameworks/F/executors/e/runs", string(p.UID))
		r.delta(deleted(p, 0))
		if _, err := os.Stat(dir); err != nil || !r.gone(p.UID) {
			t.Errorf("the sandbox of a pod that is gone: %v", err)
		}
	})
}

// TestNodeFileForPod: what is fetched from the node is below what the container mounts of it.
func TestNodeFileForPod(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"in", "out"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../out", filepath.Join(dir, "d", "up")); err != nil {
		t.Fatal(err)
	}
	p := pod("a", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(dir, "d")}}}}
	})
	c := &p.Spec.Containers[0]
	if _, err := openForPod(p, c, filepath.Join(dir, "d", "up")); err == nil {
		t.Error("a volume that is not mounted gave a file")
	}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	for _, name := range []string{"out", "d/up", "d/../out"} {
		if f, err := openForPod(p, c, filepath.Clean(filepath.Join(dir, name))); err == nil {
			t.Errorf("%s: opened %s", name, f.Name())
		}
	}
	sandbox.OnHostRoot(p, c, "", sandbox.Command{Value: "x"})
	f, err := openForPod(p, c, filepath.Join(dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if os.Getuid() != 0 {
		t.Skip("needs root to become another user")
	}
	if err := os.Chmod(filepath.Join(dir, "in"), 0o600); err != nil {
		t.Fatal(err)
	}
	sandbox.OnHostRoot(p, c, "", sandbox.Command{Value: "x", User: "65534"})
	if f, err := openForPod(p, c, filepath.Join(dir, "in")); err == nil {
		f.Close()
		t.Error("a user that may not read the file had it read")
	}
}
