package fetch

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/sandbox"
)

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
	p := &corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c"}},
		Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(dir, "d")}}}},
	}}
	c := &p.Spec.Containers[0]
	if _, err := OpenFor(p, c, filepath.Join(dir, "d", "up")); err == nil {
		t.Error("a volume that is not mounted gave a file")
	}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	for _, name := range []string{"out", "d/up", "d/../out"} {
		if f, err := OpenFor(p, c, filepath.Clean(filepath.Join(dir, name))); err == nil {
			t.Errorf("%s: opened %s", name, f.Name())
		}
	}
	sandbox.OnHostRoot(p, c, "", sandbox.Command{Value: "x"})
	f, err := OpenFor(p, c, filepath.Join(dir, "in"))
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
	if f, err := OpenFor(p, c, filepath.Join(dir, "in")); err == nil {
		f.Close()
		t.Error("a user that may not read the file had it read")
	}
}
