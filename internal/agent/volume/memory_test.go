package volume

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/agent/config"
)

func inMemory(t *testing.T, path string) bool {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Type == unix.TMPFS_MAGIC
}

// TestSecretsLieInMemory: and go with their pod; what an agent before this one put on
// the disk stays where it is mounted.
func TestSecretsLieInMemory(t *testing.T) {
	m, objs, root := manager(t)
	if inMemory(t, root) {
		t.Skip("all of the test's files lie in memory here")
	}
	objs.secrets["s"] = &corev1.Secret{Data: map[string][]byte{"k": []byte("hidden")}}
	p := podWith(
		corev1.Volume{Name: "a", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}},
		corev1.Volume{Name: "b", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}},
		}}}},
	)
	vs, err := m.Setup(p)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range vs {
		if read(t, v.Path+"/k") != "hidden" || !inMemory(t, v.Path) {
			t.Errorf("volume %s is not in memory", name)
		}
	}
	if err := m.Teardown(p.UID); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(root, memoryDir)); err != nil || len(left) > 0 {
		t.Errorf("left in memory: %v, %v", left, err)
	}
	old := filepath.Join(m.PodDir(p.UID), "volumes", "kubernetes.io~secret", "a")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	if vs, err = m.Setup(p); err != nil || vs["a"].Path != old || inMemory(t, vs["a"].Path) || !inMemory(t, vs["b"].Path) {
		t.Errorf("beside one on the disk: %+v, %v", vs, err)
	}
}

func TestMemorySize(t *testing.T) {
	list := func(s string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(s)}
	}
	m := &Manager{node: func() *config.Node { return &config.Node{Allocatable: list("1Gi")} }}
	for name, tt := range map[string]struct {
		limits []string // of containers; empty: none
		size   string
		want   int64
	}{
		"the node's":         {[]string{""}, "", 1 << 30},
		"its own":            {[]string{""}, "1Mi", 1 << 20},
		"the pod's":          {[]string{"64Mi", "64Mi"}, "", 128 << 20},
		"one has no limit":   {[]string{"64Mi", ""}, "", 1 << 30},
		"its own, too large": {[]string{"64Mi"}, "2Gi", 64 << 20},
	} {
		p := &corev1.Pod{}
		for _, l := range tt.limits {
			c := corev1.Container{}
			if l != "" {
				c.Resources.Limits = list(l)
			}
			p.Spec.Containers = append(p.Spec.Containers, c)
		}
		src := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
		if tt.size != "" {
			q := resource.MustParse(tt.size)
			src.SizeLimit = &q
		}
		if got := m.memorySize(p, src); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestHugeSize(t *testing.T) {
	for m, want := range map[corev1.StorageMedium]string{"": "no", "Memory": "no", "HugePages": "", "HugePages-2Mi": "pagesize=2M", "HugePages-1Gi": "pagesize=1G"} {
		got, ok := hugeSize(m)
		if !ok {
			got = "no"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", m, got, want)
		}
	}
}
