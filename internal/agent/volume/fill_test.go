package volume

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// layer is an image of one layer.
type layer string

func (l layer) Layers(*corev1.Pod, *corev1.ImageVolumeSource, string) ([]string, error) {
	return []string{string(l)}, nil
}
func (layer) Release(string) error { return nil }

// TestFill: an empty volume gets what the image has at its place, links as links, with
// owner and mode; one with content, or whose place the image lacks, stays as it is.
func TestFill(t *testing.T) {
	m, _, root := manager(t)
	image := t.TempDir()
	m.keep.Images = layer(image)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(image, "srv", "data")
	must(os.MkdirAll(filepath.Join(data, "sub"), 0o755))
	must(os.WriteFile(filepath.Join(data, "sub", "f"), []byte("x"), 0o640))
	must(os.Symlink("/etc/shadow", filepath.Join(data, "link")))
	must(os.Symlink("/srv", filepath.Join(image, "alias")))
	must(unix.Mkfifo(filepath.Join(data, "pipe"), 0o600))
	must(os.Chown(data, 7, 8))
	must(unix.Chmod(data, 0o2750))

	pod := &corev1.Pod{}
	pod.UID = "u1"
	c := &corev1.Container{Name: "c", Image: "i"}
	volumes := map[string]Volume{}
	for name, at := range map[string]string{"full": "/srv/data", "new": "/alias/data", "none": "/not/there"} {
		volumes[name] = Volume{Path: filepath.Join(root, name), Fill: true}
		must(os.Mkdir(volumes[name].Path, 0o755))
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: at})
	}
	must(os.WriteFile(filepath.Join(volumes["full"].Path, "own"), nil, 0o600))
	must(m.Fill(pod, c, volumes))

	for name, want := range map[string]int{"full": 1, "new": 3, "none": 0} {
		if have, err := os.ReadDir(volumes[name].Path); err != nil || len(have) != want {
			t.Errorf("%s has %d entries, %v; want %d", name, len(have), err, want)
		}
	}
	var st unix.Stat_t
	must(unix.Stat(volumes["new"].Path, &st))
	if st.Uid != 7 || st.Gid != 8 || st.Mode&0o7777 != 0o2750 {
		t.Errorf("the volume is %d:%d %o", st.Uid, st.Gid, st.Mode&0o7777)
	}
	if to, err := os.Readlink(filepath.Join(volumes["new"].Path, "link")); to != "/etc/shadow" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	must(unix.Stat(filepath.Join(volumes["new"].Path, "sub", "f"), &st))
	if st.Mode&0o7777 != 0o640 {
		t.Errorf("the file's mode is %o", st.Mode&0o7777)
	}
	must(m.Teardown(pod.UID))
}
