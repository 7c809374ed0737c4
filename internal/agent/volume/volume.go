package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"golang.org/x/sys/unix"

	"trireme/internal/agent/config"
	"trireme/internal/agent/csi"
	"trireme/internal/object/claim"
	"trireme/internal/object/sandbox"
	"trireme/internal/object/swarm"
)

// Volume is a volume that is ready.
type Volume struct {
	Path     string
	ReadOnly bool // whatever the mount says
	Device   bool // a block device, not a file system
	Fill     bool // with what the image has at its place, while it is empty
}

// Manager prepares the volumes of one node's pods.
type Manager struct {
	root    string
	objects config.Objects
	node    func() *config.Node
	give    Credentials
	keep    Persistent

	mu sync.Mutex // held while memory is mounted
}

// Tokens gives the tokens of service accounts that projected volumes ask for. It
// may ask a manager, and gives the same one until it is time for another.
type Tokens interface {
	Token(pod *corev1.Pod, src *corev1.ServiceAccountTokenProjection) (text string, ends time.Time, err error)
}

// Certificates gives the certificates that projected volumes ask signers for: the key
// and the chain as PEM, the same ones until it is time for others. source is the place
// in the volume's sources.
type Certificates interface {
	Certificate(pod *corev1.Pod, volume string, source int, src *corev1.PodCertificateProjection) (key, chain []byte, err error)
}

// Credentials gives what makes a pod known to others; nil: this node gets none.
type Credentials struct {
	Tokens       Tokens
	Certificates Certificates
}

// Persistent finds the volumes that outlive pods, and who serves them.
type Persistent struct {
	Claims  Claims
	Drivers *csi.Drivers
	Images  Images
	Copies  Copies
	// Sandboxes are volumes that Mesos' tasks have; nil: none are kept beyond their pods.
	Sandboxes Sandboxes
	// Made is called when a volume that outlives pods has been made here, which the
	// node's status is to say; may be nil.
	Made func()
}

// Copies makes volumes of this node that are copies of others.
type Copies interface {
	// Fault says why one could not be made; nil: it is not known to have failed.
	Fault(volume string) error
}

// Sandboxes makes the sandbox of a pod that has one, and returns where it lies.
type Sandboxes interface {
	Make(*corev1.Pod) (dir string, ok bool, err error)
}

// New returns a manager whose volumes lie below root. node is asked for each
// downward API value.
func New(root string, objects config.Objects, node func() *config.Node, give Credentials, keep Persistent) *Manager {
	return &Manager{root: root, objects: objects, node: node, give: give, keep: keep}
}

// PodDir returns the directory that holds everything of the pod.
func (m *Manager) PodDir(uid types.UID) string { return podDir(m.root, uid) }

func podDir(root string, uid types.UID) string { return filepath.Join(root, "pods", string(uid)) }

// Setup makes all volumes of the pod and returns them by name. It may be called
// again; what is there is brought up to date.
func (m *Manager) Setup(pod *corev1.Pod) (map[string]Volume, error) {
	out := make(map[string]Volume, len(pod.Spec.Volumes))
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		one, err := m.setup(pod, v)
		if err != nil {
			return nil, fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", v.Name, err)
		}
		out[v.Name] = one
	}
	return out, nil
}

func (m *Manager) setup(pod *corev1.Pod, v *corev1.Volume) (Volume, error) {
	switch {
	case v.EmptyDir != nil && v.Name == sandbox.Volume && m.keep.Sandboxes != nil:
		if dir, ok, err := m.keep.Sandboxes.Make(pod); ok || err != nil {
			return Volume{Path: dir}, err
		}
		fallthrough
	case v.EmptyDir != nil:
		dir := m.dir(pod.UID, "empty-dir", v.Name)
		return Volume{Path: dir}, m.emptyDir(pod, v.EmptyDir, dir)
	case v.HostPath != nil:
		return m.hostPath(v.HostPath)
	case v.Image != nil:
		path, err := m.image(pod, v)
		return Volume{Path: path, ReadOnly: true}, err
	case v.NFS != nil:
		path, err := m.nfs(pod, v.Name, v.NFS, nil)
		return Volume{Path: path, ReadOnly: v.NFS.ReadOnly}, err
	case v.CSI != nil && v.CSI.Driver == swarm.VolumeDriver:
		return m.named(pod, v)
	case v.CSI != nil:
		path, err := m.keep.Drivers.Publish(csi.Volume{Pod: pod, Name: v.Name, Inline: v.CSI})
		return Volume{Path: path}, err
	}
	if claim.NameFor(pod, v) != "" {
		return m.claimed(pod, v)
	}
	kind, files, err := m.content(pod, v)
	if err != nil {
		return Volume{}, err
	}
	if kind == "" {
		return Volume{}, fmt.Errorf("no volume plugin matched: this node serves configMap, secret, downwardAPI, projected, emptyDir, hostPath, nfs, image, csi and persistentVolumeClaim")
	}
	if secret(kind) {
		if err := m.mountMemory(); err != nil {
			return Volume{}, err
		}
	}
	dir := m.dir(pod.UID, kind, v.Name)
	return Volume{Path: dir, ReadOnly: true}, write(dir, files, group(pod))
}

// Refresh rewrites the volumes whose content comes from objects, and has drivers that want to
// be called again and again called. Volumes that cannot be read now keep their content, and
// the error says which.
func (m *Manager) Refresh(pod *corev1.Pod) error {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		kind, files, err := m.content(pod, v)
		if err == nil && kind != "" {
			err = write(m.dir(pod.UID, kind, v.Name), files, group(pod))
		}
		if m.republished(pod, v) {
			_, err = m.setup(pod, v)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("refreshing volume %q: %w", v.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Renewed reports whether Refresh has something to do for the pod.
func (m *Manager) Renewed(pod *corev1.Pod) bool { return fromObjects(pod) || m.Republished(pod) }

// Republished reports whether the driver of a volume of the pod wants to be called again and
// again.
func (m *Manager) Republished(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if m.republished(pod, &pod.Spec.Volumes[i]) {
			return true
		}
	}
	return false
}

func (m *Manager) republished(pod *corev1.Pod, v *corev1.Volume) bool {
	if v.CSI != nil {
		return m.keep.Drivers.Republishes(v.CSI.Driver)
	}
	if claim.NameFor(pod, v) == "" {
		return false
	}
	_, pv, err := m.bound(pod, v)
	return err == nil && pv.Spec.CSI != nil && m.keep.Drivers.Republishes(pv.Spec.CSI.Driver)
}

func fromObjects(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil
	})
}

// dir returns where a volume lies: what is secret in memory, unless an agent before
// this one made it on the disk, where containers have it mounted.
func (m *Manager) dir(uid types.UID, kind, name string) string {
	disk := filepath.Join(m.PodDir(uid), "volumes", "kubernetes.io~"+kind, name)
	if !secret(kind) {
		return disk
	}
	if _, err := os.Lstat(disk); err == nil {
		return disk
	}
	return filepath.Join(m.memory(uid), "kubernetes.io~"+kind, name)
}

// EmptyDir returns the directory of an emptyDir volume.
func (m *Manager) EmptyDir(uid types.UID, name string) string { return m.dir(uid, "empty-dir", name) }

func group(pod *corev1.Pod) *int64 {
	if sc := pod.Spec.SecurityContext; sc != nil {
		return sc.FSGroup
	}
	return nil
}

func (m *Manager) emptyDir(pod *corev1.Pod, src *corev1.EmptyDirVolumeSource, dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if src.Medium == corev1.StorageMediumMemory && !mounted(dir) {
		opts := "mode=0777"
		if size := m.memorySize(pod, src); size > 0 {
			opts += fmt.Sprintf(",size=%d", size)
		}
		if err := mountTmpfs(dir, 0, opts); err != nil {
			return fmt.Errorf("mounting memory at %s: %w", dir, err)
		}
	}
	if size, ok := hugeSize(src.Medium); ok && !mounted(dir) {
		if err := unix.Mount("nodev", dir, "hugetlbfs", unix.MS_NOSUID|unix.MS_NODEV, size); err != nil {
			return fmt.Errorf("mounting huge pages at %s: %w: the node has none of that size", dir, err)
		}
	}
	mode := os.FileMode(0o777)
	if g := group(pod); g != nil {
		if err := os.Chown(dir, -1, int(*g)); err != nil {
			return err
		}
		mode |= fs.ModeSetgid
	}
	return os.Chmod(dir, mode) // past the umask
}

// memorySize returns the bytes that a volume in memory may hold: no more than it says,
// than its pod may use and than the node has for pods (Kubernetes, "Volumes:
// emptyDir"). 0: nothing bounds it.
func (m *Manager) memorySize(pod *corev1.Pod, src *corev1.EmptyDirVolumeSource) int64 {
	size := m.node().Allocatable.Memory().Value()
	limited := len(pod.Spec.Containers) > 0
	for i := range pod.Spec.Containers {
		limited = limited && !pod.Spec.Containers[i].Resources.Limits.Memory().IsZero()
	}
	if limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{}); limited || pod.Spec.Resources != nil {
		size = less(size, limits.Memory().Value())
	}
	if src.SizeLimit != nil {
		size = less(size, src.SizeLimit.Value())
	}
	return size
}

// less returns the smaller of two bounds; 0 is none.
func less(a, b int64) int64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// mounted reports whether something is mounted at dir.
func mounted(dir string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// hostPath makes a directory or file of the node ready. Where it names a kubelet's
// directory, that is ours.
func (m *Manager) hostPath(src *corev1.HostPathVolumeSource) (Volume, error) {
	here := *src
	here.Path = m.keep.Drivers.Here(src.Path)
	return Volume{Path: here.Path}, hostPath(&here)
}

// hostPath checks the path against its type, and makes what the type says may be
// missing (Kubernetes, "hostPath volume types").
func hostPath(src *corev1.HostPathVolumeSource) error {
	want := corev1.HostPathUnset
	if src.Type != nil {
		want = *src.Type
	}
	switch want {
	case corev1.HostPathUnset:
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if err := os.MkdirAll(src.Path, 0o755); err != nil {
			return err
		}
	case corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(src.Path, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil && !errors.Is(err, syscall.EISDIR) {
			return err
		}
		if err == nil {
			f.Close()
		}
	}
	st, err := os.Stat(src.Path)
	if err != nil {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	mode, ok := st.Mode(), false
	switch want {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		ok = mode.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		ok = mode.IsRegular()
	case corev1.HostPathSocket:
		ok = mode&fs.ModeSocket != 0
	case corev1.HostPathCharDev:
		ok = mode&fs.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		ok = mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
	}
	if !ok {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", src.Path, strings.TrimSuffix(string(want), "OrCreate"))
	}
	return nil
}

// Teardown unmounts and removes everything of the pod. While a driver cannot take its
// volume away, or an image's layers cannot be let go of, all stays.
func (m *Manager) Teardown(uid types.UID) error {
	if err := m.keep.Drivers.Unpublish(uid); err != nil {
		return err
	}
	if err := m.releaseImages(uid); err != nil {
		return err
	}
	return errors.Join(teardown(m.PodDir(uid)), os.RemoveAll(m.memory(uid)))
}

// Teardown unmounts and removes the volumes of every pod below root, without their
// drivers, which have ended.
func Teardown(root string) error {
	var errs []error
	for _, dir := range []string{"plugins", "plugins_registry"} {
		errs = append(errs, unmountBelow(filepath.Join(root, dir)))
	}
	return errors.Join(append(errs, teardown(filepath.Join(root, "pods")), teardown(filepath.Join(root, memoryDir)))...)
}

func teardown(dir string) error {
	if err := unmountBelow(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing volumes: %w", err)
	}
	return nil
}

// unmountBelow unmounts all that is mounted at or below dir, the newest first.
func unmountBelow(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("reading the mounts: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 {
			if p := unescape(f[4]); p == real || strings.HasPrefix(p, real+"/") {
				points = append(points, p)
			}
		}
	}
	slices.Reverse(points)
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", p, err)
		}
	}
	return nil
}

// unescape undoes the octal escapes of mountinfo(5).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// Pods returns the UIDs of the pods that have a directory here.
func (m *Manager) Pods() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(m.root, "pods"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []types.UID
	for _, e := range entries {
		out = append(out, types.UID(e.Name()))
	}
	return out, nil
}
