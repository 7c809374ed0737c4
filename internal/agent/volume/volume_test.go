package volume

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/agent/config"
	"trireme/internal/agent/csi"
	"trireme/internal/object"
)

type fakeObjects struct {
	secrets map[string]*corev1.Secret
	configs map[string]*corev1.ConfigMap
	claims  map[string]*corev1.PersistentVolumeClaim
	volumes map[string]*corev1.PersistentVolume
}

func (f fakeObjects) Secret(k object.Key) (*corev1.Secret, bool) {
	s, ok := f.secrets[k.Name]
	return s, ok
}
func (f fakeObjects) ConfigMap(k object.Key) (*corev1.ConfigMap, bool) {
	c, ok := f.configs[k.Name]
	return c, ok
}
func (f fakeObjects) Claim(k object.Key) (*corev1.PersistentVolumeClaim, bool) {
	c, ok := f.claims[k.Name]
	return c, ok
}
func (f fakeObjects) Volume(name string) (*corev1.PersistentVolume, bool) {
	v, ok := f.volumes[name]
	return v, ok
}
func (f fakeObjects) Named(k object.Key) (*corev1.PersistentVolume, bool) {
	v, ok := f.volumes[k.String()]
	return v, ok
}
func (fakeObjects) TrustBundles() []*certificatesv1.ClusterTrustBundle { return nil }
func (fakeObjects) Services(string) []*corev1.Service                  { return nil }

func manager(t *testing.T) (*Manager, fakeObjects, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("volumes are made by root")
	}
	root := t.TempDir()
	objs := fakeObjects{
		map[string]*corev1.Secret{}, map[string]*corev1.ConfigMap{}, map[string]*corev1.PersistentVolumeClaim{}, map[string]*corev1.PersistentVolume{},
	}
	m := New(root, objs, func() *config.Node {
		return &config.Node{Name: "n1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	}, Credentials{}, Persistent{Claims: objs, Drivers: csi.New(csi.Config{Home: csi.Home{Root: root}})})
	t.Cleanup(func() {
		if err := Teardown(root); err != nil {
			t.Error(err)
		}
	})
	return m, objs, root
}

func podWith(vs ...corev1.Volume) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.UID = "p", "ns", "u1"
	p.Labels = map[string]string{"app": "web"}
	p.Spec.Volumes = vs
	return p
}

func configVolume(name string) corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name},
	}}}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestConfigMapIsSwappedWhole(t *testing.T) {
	m, objs, _ := manager(t)
	objs.configs["c"] = &corev1.ConfigMap{Data: map[string]string{"a": "1", "b": "1"}}
	p := podWith(configVolume("c"))
	vs, err := m.Setup(p)
	if err != nil {
		t.Fatal(err)
	}
	dir := vs["v"].Path
	if read(t, dir+"/a") != "1" || !vs["v"].ReadOnly {
		t.Fatal("first content")
	}
	first, err := os.Readlink(dir + "/..data")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Refresh(p); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.Readlink(dir + "/..data"); again != first {
		t.Error("written anew though nothing changed")
	}
	objs.configs["c"] = &corev1.ConfigMap{Data: map[string]string{"a": "2"}, BinaryData: map[string][]byte{"n": {0}}}
	if err := m.Refresh(p); err != nil {
		t.Fatal(err)
	}
	if read(t, dir+"/a") != "2" || read(t, dir+"/n") != "\x00" {
		t.Error("second content")
	}
	if _, err := os.Lstat(dir + "/b"); err == nil {
		t.Error("b is still there")
	}
	if _, err := os.Stat(filepath.Join(dir, first)); err == nil {
		t.Error("the old content is still there")
	}
}

func TestMissingSourcesAreNamed(t *testing.T) {
	m, objs, _ := manager(t)
	if _, err := m.Setup(podWith(configVolume("gone"))); err == nil || !strings.Contains(err.Error(), `configmap "gone" not found`) {
		t.Errorf("got %v", err)
	}
	v, yes := configVolume("gone"), true
	v.ConfigMap.Optional = &yes
	if _, err := m.Setup(podWith(v)); err != nil {
		t.Errorf("optional: %v", err)
	}
	objs.configs["c"] = &corev1.ConfigMap{Data: map[string]string{"a": "1"}}
	v = configVolume("c")
	v.ConfigMap.Items = []corev1.KeyToPath{{Key: "zz", Path: "x"}}
	if _, err := m.Setup(podWith(v)); err == nil || !strings.Contains(err.Error(), "zz") {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"../x", "/x", "a/../../x", "..", ""} {
		v.ConfigMap.Items = []corev1.KeyToPath{{Key: "a", Path: bad}}
		if _, err := m.Setup(podWith(v)); err == nil {
			t.Errorf("path %q was taken", bad)
		}
	}
}

func TestProjectedModesAndGroup(t *testing.T) {
	m, objs, _ := manager(t)
	objs.secrets["s"] = &corev1.Secret{Data: map[string][]byte{"key": []byte("k")}}
	mode, gid := int32(0o400), int64(2000)
	p := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: &mode, Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Items: []corev1.KeyToPath{{Key: "key", Path: "deep/in/key"}}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
		},
	}}})
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &gid}
	vs, err := m.Setup(p)
	if err != nil {
		t.Fatal(err)
	}
	if read(t, vs["v"].Path+"/deep/in/key") != "k" || read(t, vs["v"].Path+"/labels") != `app="web"` {
		t.Error("content")
	}
	st, err := os.Stat(vs["v"].Path + "/deep/in/key")
	if err != nil || st.Mode().Perm() != 0o440 {
		t.Errorf("mode %v %v", st.Mode(), err)
	}
}

func TestMemoryIsMountedAndTakenDown(t *testing.T) {
	m, _, _ := manager(t)
	size := resource.MustParse("1Mi")
	p := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Memory", SizeLimit: &size}}})
	for range 2 { // the second time finds it mounted
		if _, err := m.Setup(p); err != nil {
			t.Fatal(err)
		}
	}
	vs, err := m.Setup(p)
	if err != nil || !mounted(vs["v"].Path) {
		t.Fatalf("mounted: %v", err)
	}
	if err := os.WriteFile(vs["v"].Path+"/big", make([]byte, 2<<20), 0o600); err == nil {
		t.Error("the size limit does not hold")
	}
	if err := m.Teardown(p.UID); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(read(t, "/proc/self/mountinfo"), m.PodDir(p.UID)) {
		t.Error("still mounted")
	}
}

func TestHostPathTypes(t *testing.T) {
	m, _, _ := manager(t)
	dir := t.TempDir()
	try := func(path string, kind corev1.HostPathType) error {
		_, err := m.Setup(podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}}}))
		return err
	}
	for path, tt := range map[string]struct {
		kind corev1.HostPathType
		ok   bool
	}{
		dir: {corev1.HostPathDirectory, true}, dir + "/none": {corev1.HostPathDirectory, false}, dir + "/made": {corev1.HostPathDirectoryOrCreate, true},
		dir + "/file": {corev1.HostPathFileOrCreate, true}, "/dev/null": {corev1.HostPathCharDev, true}, "/etc/passwd": {corev1.HostPathSocket, false},
		dir + "/absent": {corev1.HostPathUnset, true},
	} {
		if err := try(path, tt.kind); (err == nil) != tt.ok {
			t.Errorf("%s as %q: %v", path, tt.kind, err)
		}
	}
}

func TestSubPathStaysInItsVolume(t *testing.T) {
	m, _, root := manager(t)
	base, outside := filepath.Join(root, "base"), filepath.Join(root, "outside")
	for _, d := range []string{base, outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside+"/secret", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"abs": outside, "rel": "../outside", "proc": "/proc/self/root"} {
		if err := os.Symlink(to, filepath.Join(base, link)); err != nil {
			t.Fatal(err)
		}
	}
	p := podWith()
	mount := func(i int, sub string) (string, error) {
		return m.Mount(SubPath{Pod: p, Volume: "v", Base: base, Container: "c", Index: i, Path: sub})
	}
	at, err := mount(0, "new/dir")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at+"/f", []byte("in"), 0o600); err != nil || read(t, base+"/new/dir/f") != "in" {
		t.Errorf("what is written does not reach the volume: %v", err)
	}
	for i, sub := range []string{"abs", "rel", "abs/secret", "rel/secret", "proc/etc"} {
		at, err := mount(i+1, sub)
		if err != nil {
			continue // refused
		}
		if _, err := os.Stat(at + "/secret"); err == nil {
			t.Errorf("%s led out of the volume", sub)
		}
		if b, err := os.ReadFile(at); err == nil && string(b) == "x" {
			t.Errorf("%s led to a file outside", sub)
		}
		if _, err := os.Stat(at + "/passwd"); err == nil {
			t.Errorf("%s led to the node's root", sub)
		}
	}
	for _, sub := range []string{"../outside", "/etc", "a/../../outside"} {
		if _, err := mount(9, sub); err == nil {
			t.Errorf("%q was taken", sub)
		}
	}
	if err := os.WriteFile(base+"/file", []byte("f"), 0o600); err != nil {
		t.Fatal(err)
	}
	if at, err := mount(10, "file"); err != nil || read(t, at) != "f" {
		t.Errorf("a file: %v", err)
	}
}
