package snapshot

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object/claim"
	"trireme/internal/object/snapshot"
	"trireme/internal/wire"
)

// rig is a Keeper on a folder, and what it was told of and said.
type rig struct {
	*Keeper
	t        *testing.T
	dir      string
	contents []*snapshotv1.VolumeSnapshotContent
	volumes  []*corev1.PersistentVolume
	said     map[string]*wire.SnapshotState
	made     int
}

func newRig(t *testing.T, dir string, clone cloner) *rig {
	r := &rig{t: t, dir: dir}
	r.Keeper = New(Config{
		Dir: dir, Node: "n1", Log: slog.New(slog.DiscardHandler),
		Contents: func() []*snapshotv1.VolumeSnapshotContent { return r.contents },
		Volumes:  func() []*corev1.PersistentVolume { return r.volumes },
		Report:   func(s map[string]*wire.SnapshotState) { r.said = s },
		Made:     func() { r.made++ },
	})
	if clone != nil {
		r.disk.clone = clone
	}
	return r
}

func volume(name, of string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{claim.ProvisionedBy: claim.LocalProvisioner, claim.SelectedNode: "n1", claim.MadeOf: of}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "volumes/" + name}},
		},
	}
}

func content(name, handle string) *snapshotv1.VolumeSnapshotContent {
	c := &snapshotv1.VolumeSnapshotContent{}
	c.Name, c.UID = name, "uid"
	c.Spec.Driver, c.Spec.DeletionPolicy = snapshot.Driver, snapshotv1.VolumeSnapshotContentDelete
	c.Spec.VolumeSnapshotRef.UID = "s"
	c.Spec.Source.VolumeHandle = &handle
	return c
}

func (r *rig) write(path, text string) {
	r.t.Helper()
	must(r.t, os.MkdirAll(filepath.Dir(filepath.Join(r.dir, path)), 0o755))
	must(r.t, os.WriteFile(filepath.Join(r.dir, path), []byte(text), 0o644))
}

func (r *rig) want(path, text string) {
	r.t.Helper()
	if b, err := os.ReadFile(filepath.Join(r.dir, path)); err != nil || string(b) != text {
		r.t.Errorf("%s holds %q (%v), want %q", path, b, err, text)
	}
}

// lies returns the names in the folder of snapshots.
func (r *rig) lies() string {
	entries, _ := os.ReadDir(r.disk.path())
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestKeeper: a snapshot is made once, a volume of it has what was there then; it outlives
// its volume, and goes when it is told to, wholly.
func TestKeeper(t *testing.T) {
	r := newRig(t, t.TempDir(), byBytes)
	r.life()
}

func (r *rig) life() {
	t := r.t
	r.write("pvc-1/sub/f", "then")
	r.volumes, r.contents = []*corev1.PersistentVolume{volume("pvc-1", "")}, []*snapshotv1.VolumeSnapshotContent{content("c", "n1/pvc-1")}
	if !r.pass(t.Context()) || r.said["c"].GetError() != "" || r.said["c"].GetCreatedUnixNs() == 0 || r.said["c"].Bytes != 1<<30 || r.said["c"].Uid != "uid" {
		t.Fatalf("a snapshot that is taken: %v", r.said)
	}
	first := r.said["c"].CreatedUnixNs
	r.write("pvc-1/sub/f", "later")
	r.said = nil
	if !r.pass(t.Context()) || r.said != nil {
		t.Errorf("said again: %v", r.said)
	}
	anew := newRig(t, r.dir, r.disk.clone)
	anew.contents, anew.volumes = r.contents, r.volumes
	if !anew.pass(t.Context()) || anew.said["c"].GetCreatedUnixNs() != first {
		t.Errorf("an agent that starts anew says %v, want the snapshot of %d", anew.said, first)
	}
	must(t, os.RemoveAll(filepath.Join(r.dir, "pvc-1")))
	r.write("pvc-2/f", "two")
	r.volumes = []*corev1.PersistentVolume{volume("pvc-2", ""), volume("pvc-3", "snapshot/snapshot-s"), volume("pvc-4", "volume/pvc-2"), volume("pvc-5", "snapshot/snapshot-x")}
	if r.pass(t.Context()) || r.made != 2 {
		t.Errorf("%d volumes were made, want 2, and one to be tried again", r.made)
	}
	r.want("pvc-3/sub/f", "then")
	r.want("pvc-4/f", "two")
	if err := r.Fault("pvc-5"); err == nil || !strings.Contains(err.Error(), "snapshot snapshot-x is not on this node") || r.Fault("pvc-3") != nil {
		t.Errorf("a volume of a snapshot that is not there: %v", err)
	}
	r.volumes = nil
	now := metav1.Now()
	gone := r.contents[0].DeepCopy()
	gone.DeletionTimestamp = &now
	r.contents = []*snapshotv1.VolumeSnapshotContent{gone}
	r.pass(t.Context())
	if r.lies() == "" || r.said["c"].GetRemoved() {
		t.Error("a content that its snapshot needs was removed")
	}
	gone = gone.DeepCopy()
	gone.Annotations = map[string]string{snapshot.BeingDeleted: "yes"}
	r.contents[0] = gone
	if !r.pass(t.Context()) || !r.said["c"].GetRemoved() || r.lies() != "" {
		t.Errorf("a snapshot that is to go: %v, left %q", r.said, r.lies())
	}
	r.want("pvc-3/sub/f", "then")
}

// TestKeeperRefuses: what cannot be made says why, leaves nothing, and is tried again; what is
// lost is not made anew of what the volume has become.
func TestKeeperRefuses(t *testing.T) {
	broken := unix.EOPNOTSUPP
	r := newRig(t, t.TempDir(), func(dst, src int) error {
		if broken != 0 {
			return broken
		}
		return byBytes(dst, src)
	})
	r.write("pvc-1/f", "x")
	c, there := content("c", "n1/pvc-1"), true
	r.volumes, r.contents = []*corev1.PersistentVolume{volume("pvc-1", "")}, []*snapshotv1.VolumeSnapshotContent{c, content("elsewhere", "n2/pvc-1"), content("out", "n1/../x")}
	if r.pass(t.Context()) || !strings.Contains(r.said["c"].GetError(), "XFS made with reflink=1, or on Btrfs") || r.lies() != "" || len(r.said) != 1 {
		t.Errorf("on a file system without reflink: %v, left %q", r.said, r.lies())
	}
	broken = unix.EIO
	if r.pass(t.Context()) || !strings.Contains(r.said["c"].GetError(), "input/output error") || r.lies() != "" {
		t.Errorf("on a broken disk: %v, left %q", r.said, r.lies())
	}
	broken = 0
	r.volumes = []*corev1.PersistentVolume{volume("pvc-9", "")}
	if r.pass(t.Context()) || !strings.Contains(r.said["c"].GetError(), "volume pvc-1 is not on node n1") {
		t.Errorf("of a volume that is not there: %v", r.said)
	}
	r.volumes = []*corev1.PersistentVolume{volume("pvc-1", "")}
	c.Status = &snapshotv1.VolumeSnapshotContentStatus{ReadyToUse: &there}
	if r.pass(t.Context()) || !strings.Contains(r.said["c"].GetError(), "there is nothing at") {
		t.Errorf("a snapshot that is lost: %v", r.said)
	}
}

// TestKeeperCleans: what an agent that was killed left half done goes at the next start.
func TestKeeperCleans(t *testing.T) {
	r := newRig(t, t.TempDir(), byBytes)
	for _, name := range []string{".snapshot-s/data/f", ".volume-pvc-1/f", "snapshot-kept/data/f"} {
		r.write(filepath.Join(folder, name), "x")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err == nil {
		t.Error("Run ended without its context")
	}
	if r.lies() != "snapshot-kept" {
		t.Errorf("left: %s", r.lies())
	}
}

// TestVolumeThatGoes: a volume that is taken away while it is made does not come back.
func TestVolumeThatGoes(t *testing.T) {
	var r *rig
	r = newRig(t, t.TempDir(), func(dst, src int) error {
		r.volumes = r.volumes[:1]
		return byBytes(dst, src)
	})
	r.write("pvc-1/f", "x")
	r.volumes = []*corev1.PersistentVolume{volume("pvc-1", ""), volume("pvc-2", "volume/pvc-1")}
	r.volumes[1].UID = "2"
	r.pass(t.Context())
	if _, err := os.Lstat(filepath.Join(r.dir, "pvc-2")); !os.IsNotExist(err) {
		t.Errorf("the volume is there: %v", err)
	}
}

// TestReflink: on file systems that can, a snapshot has its own names and the same blocks; on
// those that cannot, it is refused and says what to do.
func TestReflink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting is root's")
	}
	for kind, args := range map[string][]string{"xfs": {"-q", "-m", "reflink=1"}, "btrfs": {"-q"}, "ext4": {"-q"}} {
		t.Run(kind, func(t *testing.T) { reflinkOn(t, kind, args) })
	}
}

func reflinkOn(t *testing.T, kind string, args []string) {
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Skipf("the machine has no mkfs.%s (Debian: xfsprogs, btrfs-progs, e2fsprogs)", kind)
	}
	if b, err := os.ReadFile("/proc/filesystems"); err != nil || !slices.Contains(strings.Fields(string(b)), kind) {
		t.Skipf("the kernel has no %s", kind)
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 320<<20))
	for _, cmd := range [][]string{append(append([]string{mkfs}, args...), image), {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.CommandContext(t.Context(), cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", cmd, err, out)
		}
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) }) // the loop device goes with the mount
	r := newRig(t, dir, nil)
	r.volumes, r.contents = []*corev1.PersistentVolume{volume("pvc-1", "")}, []*snapshotv1.VolumeSnapshotContent{content("c", "n1/pvc-1")}
	must(t, os.Mkdir(filepath.Join(dir, "pvc-1"), 0o755))
	if kind == "ext4" {
		if r.pass(t.Context()) || !strings.Contains(r.said["c"].GetError(), "(ext4) cannot share blocks between files") {
			t.Errorf("said %v", slices.Collect(maps.Values(r.said)))
		}
		return
	}
	const size = 64 << 20
	r.write("pvc-1/big", strings.Repeat("trireme\n", size/8))
	used := func() uint64 {
		must(t, r.disk.sync())
		var st unix.Statfs_t
		must(t, unix.Statfs(dir, &st))
		return (st.Blocks - st.Bfree) * uint64(st.Bsize)
	}
	must(t, os.MkdirAll(r.disk.path(), 0o700))
	before := used()
	if !r.pass(t.Context()) {
		t.Fatalf("said %v", slices.Collect(maps.Values(r.said)))
	}
	if more := used() - before; more > size/8 {
		t.Errorf("a snapshot of %d bytes takes %d more", size, more)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "pvc-1")))
	must(t, r.disk.remove("snapshot-s"))
	r.contents = nil
	fresh := newRig(t, dir, nil)
	fresh.life()
}
