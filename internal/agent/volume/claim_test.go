package volume

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"trireme/internal/agent/csi"
	"trireme/internal/object/claim"
)

// bound returns a claim and a volume that name each other.
func bound(objs fakeObjects, source corev1.PersistentVolumeSource) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	c, v := &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}
	c.Name, c.Namespace, c.UID, c.Spec.VolumeName = "c", "ns", "uc", "v"
	v.Name, v.Spec.PersistentVolumeSource = "v", source
	v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "ns", Name: "c", UID: "uc"}
	objs.claims["c"], objs.volumes["v"] = c, v
	return c, v
}

func claiming() *corev1.Pod {
	return podWith(corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}})
}

func TestClaimsLeadToVolumes(t *testing.T) {
	m, objs, root := manager(t)
	dir := t.TempDir()
	bound(objs, corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}})
	if vs, err := m.Setup(claiming()); err != nil || vs["data"].Path != dir {
		t.Errorf("hostPath: %v, %v", vs, err)
	}
	bound(objs, corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}})
	if vs, err := m.Setup(claiming()); err != nil || vs["data"].Path != dir {
		t.Errorf("local: %v, %v", vs, err)
	}
	_, v := bound(objs, corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "volumes/v"}})
	v.Annotations = map[string]string{claim.ProvisionedBy: claim.LocalProvisioner, claim.SelectedNode: "n1"}
	vs, err := m.Setup(claiming())
	if err != nil || vs["data"].Path != filepath.Join(root, "volumes", "v") {
		t.Fatalf("made here: %v, %v", vs, err)
	}
	if err := os.WriteFile(vs["data"].Path+"/kept", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Teardown("u1"); err != nil {
		t.Fatal(err)
	}
	if vs, err = m.Setup(claiming()); err != nil || read(t, vs["data"].Path+"/kept") != "x" {
		t.Errorf("the next pod does not find the data: %v", err)
	}
	if names, err := m.Local(); err != nil || len(names) != 1 || names[0] != "v" {
		t.Errorf("here are %v, %v", names, err)
	}
	if err := m.RemoveLocal("v"); err != nil {
		t.Fatal(err)
	}
	if names, _ := m.Local(); len(names) != 0 {
		t.Errorf("after removal %v", names)
	}
	for _, bad := range []string{"", ".", "..", "../pods", "a/b"} {
		if m.RemoveLocal(bad) == nil {
			t.Errorf("%q was taken for the name of a volume", bad)
		}
	}
}

func TestClaimsThatLeadNowhere(t *testing.T) {
	m, objs, _ := manager(t)
	for _, c := range []struct {
		want   string
		change func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume)
	}{
		{`persistentvolumeclaim "c" not found`, func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) { delete(objs.claims, "c") }},
		{`persistentvolumeclaim "c" is not bound`, func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) { c.Spec.VolumeName = "" }},
		{`persistentvolume "v" not found`, func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) { delete(objs.volumes, "v") }},
		{`is not bound to persistentvolumeclaim "c"`, func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = "other" }},
		{`block device`, func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
			block := corev1.PersistentVolumeBlock
			v.Spec.VolumeMode = &block
		}},
		{`block device`, func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
			block := corev1.PersistentVolumeBlock
			v.Spec.VolumeMode = &block
			v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/dev/null"}}
		}},
		{`no volume plugin matched`, func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{ISCSI: &corev1.ISCSIPersistentVolumeSource{}}
		}},
		{`lies on node "n2"`, func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
			v.Annotations = map[string]string{claim.ProvisionedBy: claim.LocalProvisioner, claim.SelectedNode: "n2"}
		}},
		{`the local volume's path is not there`, func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {}},
	} {
		pvc, v := bound(objs, corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/nowhere"}})
		c.change(pvc, v)
		if _, err := m.Setup(claiming()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

type faults struct{ err error }

func (f faults) Fault(string) error { return f.err }

// TestCopiesAreAwaited: a volume that is to be a copy is not made empty for its pod; what is
// beside volumes is none.
func TestCopiesAreAwaited(t *testing.T) {
	m, objs, root := manager(t)
	_, v := bound(objs, corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "volumes/v"}})
	v.Annotations = map[string]string{claim.ProvisionedBy: claim.LocalProvisioner, claim.SelectedNode: "n1", claim.MadeOf: "snapshot/s"}
	for fault, want := range map[error]string{nil: "under way", os.ErrPermission: "permission denied"} {
		m.keep.Copies = faults{fault}
		if _, err := m.Setup(claiming()); err == nil || !strings.Contains(err.Error(), `persistentvolume "v" is to be made of snapshot/s`) || !strings.Contains(err.Error(), want) {
			t.Errorf("with the fault %v: %v", fault, err)
		}
	}
	for _, dir := range []string{"volumes/v", "volumes/.snapshots/s"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if vs, err := m.Setup(claiming()); err != nil || vs["data"].Path != filepath.Join(root, "volumes/v") {
		t.Errorf("a copy that is there: %v, %v", vs, err)
	}
	if names, err := m.Local(); err != nil || len(names) != 1 {
		t.Errorf("here are %v, %v", names, err)
	}
}

// asks is a cluster whose driver wants to be called again and again.
type asks struct{ csi.Objects }

func (asks) Driver(string) (*storagev1.CSIDriver, bool) {
	yes := true
	return &storagev1.CSIDriver{Spec: storagev1.CSIDriverSpec{RequiresRepublish: &yes}}, true
}

// TestRefreshCallsDrivers: those that want to be called again are, of volumes in pods and of
// claims; that this one is not here is what shows it.
func TestRefreshCallsDrivers(t *testing.T) {
	m, objs, root := manager(t)
	m.keep.Drivers = csi.New(csi.Config{Home: csi.Home{Root: root}, Node: "n1", Objects: asks{}})
	bound(objs, corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h"}})
	inline := podWith(corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d"}}})
	for _, pod := range []*corev1.Pod{claiming(), inline} {
		if err := m.Refresh(pod); !m.Renewed(pod) || err == nil || !strings.Contains(err.Error(), "driver name d not found") {
			t.Errorf("refreshing a pod's volume of the driver: %v", err)
		}
	}
	bound(objs, corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: root}})
	if err := m.Refresh(claiming()); m.Renewed(claiming()) || err != nil {
		t.Errorf("refreshing a pod without one: %v", err)
	}
}
