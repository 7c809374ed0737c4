package csi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"trireme/internal/object"
)

const driverName = "fake.csi.example.com"

// fake is a driver and its registrar in one: what it publishes is an empty tmpfs.
type fake struct {
	registration.UnimplementedRegistrationServer
	csi.UnimplementedNodeServer

	endpoint string

	mu     sync.Mutex
	calls  []string
	fail   string     // the call that fails
	code   codes.Code // of its error; OK: Internal
	status *registration.RegistrationStatus
}

func (f *fake) called(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	if f.fail == name {
		return status.Error(cmp.Or(f.code, codes.Internal), "the array is on fire")
	}
	return nil
}

// took returns the calls since it was last asked.
func (f *fake) took() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := strings.Join(f.calls, " ")
	f.calls = nil
	return all
}

func (f *fake) failing(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = call
}

func (f *fake) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: driverName, Endpoint: f.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

func (f *fake) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = s
	return &registration.RegistrationStatusResponse{}, nil
}

func (f *fake) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId: "n-1", MaxVolumesPerNode: 3, AccessibleTopology: &csi.Topology{Segments: map[string]string{"example.com/rack": "r7"}},
	}, nil
}

func (f *fake) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	res := &csi.NodeGetCapabilitiesResponse{}
	for _, c := range []csi.NodeServiceCapability_RPC_Type{csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, csi.NodeServiceCapability_RPC_EXPAND_VOLUME} {
		res.Capabilities = append(res.Capabilities, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: c}}})
	}
	return res, nil
}

func (f *fake) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	return &csi.NodeExpandVolumeResponse{}, f.called(fmt.Sprintf("expand to %d", r.CapacityRange.RequiredBytes))
}

func (f *fake) NodeStageVolume(context.Context, *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	return &csi.NodeStageVolumeResponse{}, f.called("stage")
}

func (f *fake) NodeUnstageVolume(context.Context, *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	return &csi.NodeUnstageVolumeResponse{}, f.called("unstage")
}

func (f *fake) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if err := f.called("publish"); err != nil {
		return nil, err
	}
	if mounted(r.TargetPath) { // as the specification has it: a call may come twice
		return &csi.NodePublishVolumeResponse{}, nil
	}
	if r.VolumeCapability.GetBlock() != nil {
		return &csi.NodePublishVolumeResponse{}, errors.Join(os.WriteFile(r.TargetPath, nil, 0o600), unix.Mount(aDevice, r.TargetPath, "", unix.MS_BIND, ""))
	}
	if err := os.MkdirAll(r.TargetPath, 0o750); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, unix.Mount("tmpfs", r.TargetPath, "tmpfs", 0, "size=1m")
}

func (f *fake) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := f.called("unpublish"); err != nil {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, errors.Join(unix.Unmount(r.TargetPath, unix.MNT_DETACH), os.Remove(r.TargetPath))
}

// aDevice is what block volumes show; nothing opens it.
const aDevice = "/dev/loop0"

// told is a cluster whose one driver needs no attachments.
type told struct{}

func (told) Secret(object.Key) (*corev1.Secret, bool)              { return nil, false }
func (told) Attachment(string) (*storagev1.VolumeAttachment, bool) { return nil, false }
func (told) Driver(string) (*storagev1.CSIDriver, bool) {
	return &storagev1.CSIDriver{Spec: storagev1.CSIDriverSpec{AttachRequired: new(bool)}}, true
}

// start serves the driver's socket in the registry below root.
func start(t *testing.T, root string) *fake {
	t.Helper()
	path := filepath.Join(root, "plugins_registry", "fake.sock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f, s := &fake{endpoint: path}, grpc.NewServer()
	registration.RegisterRegistrationServer(s, f)
	csi.RegisterNodeServer(s, f)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return f
}

func drivers(t *testing.T, root string) *Drivers {
	return New(Config{
		Home: Home{Root: root}, Node: "n", Objects: told{}, Context: t.Context,
		Changed: func() {}, Used: func() {}, Grown: func() {}, Log: slog.New(slog.DiscardHandler),
	})
}

func volumeOf(uid types.UID) Volume {
	return Volume{
		Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid, Name: string(uid), Namespace: "default"}},
		PV: &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driverName, VolumeHandle: "h"}},
		}},
	}
}

func TestRegistration(t *testing.T) {
	root := t.TempDir()
	f, d := start(t, root), drivers(t, root)
	if !d.scan(t.Context()) {
		t.Fatal("the driver was not found")
	}
	if f.status == nil || !f.status.PluginRegistered {
		t.Errorf("the driver was told %v", f.status)
	}
	n, labels := d.Node()
	if len(n.Spec.Drivers) != 1 || n.Spec.Drivers[0].NodeID != "n-1" || *n.Spec.Drivers[0].Allocatable.Count != 3 ||
		!slices.Equal(n.Spec.Drivers[0].TopologyKeys, []string{"example.com/rack"}) || labels["example.com/rack"] != "r7" {
		t.Errorf("CSINode %+v, labels %v", n.Spec, labels)
	}
	if d.scan(t.Context()) {
		t.Error("a driver that stays is a change")
	}
	if err := os.Remove(f.endpoint); err != nil {
		t.Fatal(err)
	}
	if n, _ := d.Node(); !d.scan(t.Context()) || len(n.Spec.Drivers) != 1 {
		t.Error("a driver that went is no change")
	}
	if n, _ := d.Node(); len(n.Spec.Drivers) != 0 {
		t.Errorf("left: %+v", n.Spec.Drivers)
	}
}

// A volume of two pods is staged for the first and unstaged after the last, also by an
// agent that has started anew; a driver's errors leave everything to be tried again.
func TestVolume(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	root := t.TempDir()
	f, d := start(t, root), drivers(t, root)
	t.Cleanup(func() { // what a failed test leaves
		left, _ := filepath.Glob(filepath.Join(root, "pods/*/volumes/*/*/mount"))
		for _, p := range left {
			_ = unix.Unmount(p, unix.MNT_DETACH)
		}
	})
	if _, err := d.Publish(volumeOf("a")); err == nil || !strings.Contains(err.Error(), "not found in the list of registered") {
		t.Fatalf("without a driver: %v", err)
	}
	d.scan(t.Context())

	f.failing("stage")
	if _, err := d.Publish(volumeOf("a")); err == nil || !strings.Contains(err.Error(), "NodeStageVolume") || !strings.Contains(err.Error(), "on fire") {
		t.Fatalf("a driver that cannot stage: %v", err)
	}
	f.failing("")
	for _, uid := range []types.UID{"a", "b"} {
		path, err := d.Publish(volumeOf(uid))
		if err != nil || !mounted(path) {
			t.Fatalf("publishing for %s at %q: %v", uid, path, err)
		}
	}
	f.took()
	if _, err := d.Publish(volumeOf("a")); err != nil || f.took() != "" {
		t.Errorf("a volume that is there is published again: %v", err)
	}
	half, err := load(d.recordOf(volumeOf("a")).dir) // an agent that ended before the volume was all it should be
	if err != nil {
		t.Fatal(err)
	}
	if half.Done = false; half.save() != nil {
		t.Fatal("the record cannot be written")
	}
	if _, err := d.Publish(volumeOf("a")); err != nil || f.took() != "stage publish" {
		t.Errorf("a volume that was half made is not made again: %v", err)
	}

	d = drivers(t, root) // another agent
	if err := d.Unpublish("a"); err == nil {
		t.Error("unpublished before the driver is registered again")
	}
	d.scan(t.Context())
	f.failing("unpublish")
	if err := d.Unpublish("a"); err == nil || !mounted(filepath.Join(d.volumesDir("a"), "pv", "mount")) {
		t.Fatalf("a driver that cannot unpublish: %v", err)
	}
	f.failing("")
	f.took()
	for _, step := range []struct {
		uid  types.UID
		want string
	}{{"a", "unpublish"}, {"b", "unpublish unstage"}, {"b", ""}} {
		if err := d.Unpublish(step.uid); err != nil {
			t.Fatal(err)
		}
		if got := f.took(); got != step.want {
			t.Errorf("pod %s: the driver was called to %q, want %q", step.uid, got, step.want)
		}
	}
	if left, err := d.records(everyPod); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A volume that has grown elsewhere grows on its node when a pod gets it, and under a pod
// that has it once the growth elsewhere has finished; a driver's errors leave it as it is.
func TestExpand(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	root := t.TempDir()
	f, d := start(t, root), drivers(t, root)
	d.scan(t.Context())
	v := volumeOf("a")
	sized := func(bytes int64) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(bytes, resource.BinarySI)}
	}
	v.Claim = &corev1.PersistentVolumeClaim{Status: corev1.PersistentVolumeClaimStatus{Capacity: sized(1)}}
	v.PV.Spec.Capacity = sized(2)
	if _, err := d.Publish(v); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(d.volumesDir("a"), "pv", "mount"), unix.MNT_DETACH) })
	if got := f.took(); got != "stage expand to 2 publish" {
		t.Errorf("a volume that had grown is made ready by %q", got)
	}
	for _, step := range []struct {
		size   int64
		status corev1.ClaimResourceStatus
		fail   string
		want   string // the calls
		known  int64
	}{
		{2, "", "", "", 2},
		{3, corev1.PersistentVolumeClaimControllerResizeInProgress, "", "", 2},
		{3, corev1.PersistentVolumeClaimNodeResizePending, "expand to 3", "expand to 3", 2},
		{3, corev1.PersistentVolumeClaimNodeResizePending, "", "expand to 3", 3},
		{3, corev1.PersistentVolumeClaimNodeResizePending, "", "", 3},
		{4, corev1.PersistentVolumeClaimNodeResizeInfeasible, "", "", 3},
	} {
		v.PV.Spec.Capacity = sized(step.size)
		v.Claim.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: step.status}
		f.failing(step.fail)
		did, err := d.Expand(v)
		if (err != nil) != (step.fail != "") || did != (step.want != "" && err == nil) {
			t.Errorf("%+v: expanded %v, %v", step, did, err)
		}
		if got := f.took(); got != step.want {
			t.Errorf("%+v: the driver was called to %q", step, got)
		}
		if sizes, err := d.Sizes(); err != nil || sizes["pv"] != step.known {
			t.Errorf("%+v: known as %v, %v", step, sizes, err)
		}
		if said := d.Infeasible(); len(said) != 0 {
			t.Errorf("%+v: infeasible is %v", step, said)
		}
	}
	v.Claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage] = corev1.PersistentVolumeClaimNodeResizePending
	f.failing("expand to 4")
	f.code = codes.OutOfRange
	if _, err := d.Expand(v); !errors.Is(err, ErrInfeasible) || d.Infeasible()["pv"].GetBytes() != 4 || !strings.Contains(d.Infeasible()["pv"].GetWhy(), "on fire") {
		t.Errorf("a size that the driver cannot give: %v, said as %v", err, d.Infeasible())
	}
	f.failing("")
	if did, err := d.Expand(v); !did || err != nil || len(d.Infeasible()) != 0 {
		t.Errorf("the same later: %v, %v, %v", did, err, d.Infeasible())
	}
}

// A block volume is a device of the node, and nothing is left of it.
func TestBlock(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	if _, err := os.Stat(aDevice); err != nil {
		t.Skip("this machine has no ", aDevice)
	}
	root := t.TempDir()
	start(t, root)
	d := drivers(t, root)
	d.scan(t.Context())
	v := volumeOf("a")
	block := corev1.PersistentVolumeBlock
	v.PV.Spec.VolumeMode = &block
	path, err := d.Publish(v)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode()&os.ModeDevice == 0 {
		t.Errorf("at %s lies %v, %v", path, st, err)
	}
	if err := d.Unpublish("a"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"publish", "staging"} {
		if left, err := os.ReadDir(filepath.Join(d.devicesDir(), dir)); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
}

// What lies in a volume is the group's; what a link in it leads to is not touched.
func TestOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to groups")
	}
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	in := filepath.Join(dir, "sub", "file")
	if err := errors.Join(os.WriteFile(outside, nil, 0o600), os.Mkdir(filepath.Dir(in), 0o700), os.WriteFile(in, nil, 0o600),
		os.Symlink(outside, filepath.Join(dir, "file")), os.Symlink(filepath.Dir(outside), filepath.Join(dir, "dir"))); err != nil {
		t.Fatal(err)
	}
	if err := own(dir, 3000, false); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir: "3000 dgrwxrwx", filepath.Dir(in): "3000 dgrwxrwx---", in: "3000 -rw-rw----", outside: "0 -rw-------", filepath.Dir(outside): "0 d",
	} {
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d %s", st.Sys().(*syscall.Stat_t).Gid, st.Mode()); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestHome(t *testing.T) {
	h := Home{Root: "/r", Named: "/var/lib/kubelet"}
	for from, to := range map[string]string{
		"/var/lib/kubelet": "/r", "/var/lib/kubelet/plugins/": "/r/plugins", "/var/lib/kubelet2": "/var/lib/kubelet2", "/etc": "/etc",
	} {
		if got := h.Here(from); got != to {
			t.Errorf("Here(%s) = %s, want %s", from, got, to)
		}
	}
	if got := h.There("/r/pods/x"); got != "/var/lib/kubelet/pods/x" {
		t.Errorf("There = %s", got)
	}
}
