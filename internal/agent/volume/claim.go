package volume

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/csi"
	"trireme/internal/object"
	"trireme/internal/object/claim"
)

// Claims finds what pods' claims lead to. A node is told of its own pods' only.
type Claims interface {
	Claim(object.Key) (*corev1.PersistentVolumeClaim, bool)
	Volume(name string) (*corev1.PersistentVolume, bool)
	// Named returns what holds the data, on this node, of the Volume of the key.
	Named(object.Key) (*corev1.PersistentVolume, bool)
}

// bound returns the claim behind the pod's volume and the persistent volume that it is
// bound to.
func (m *Manager) bound(pod *corev1.Pod, v *corev1.Volume) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, error) {
	name := claim.NameFor(pod, v)
	c, ok := m.keep.Claims.Claim(object.Key{Namespace: pod.Namespace, Name: name})
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("persistentvolumeclaim %q not found", name)
	case v.Ephemeral != nil && !claim.Owns(pod, c):
		return nil, nil, fmt.Errorf("persistentvolumeclaim %q was not created for this pod", name)
	case c.Spec.VolumeName == "":
		return nil, nil, fmt.Errorf("persistentvolumeclaim %q is not bound", name)
	}
	pv, ok := m.keep.Claims.Volume(c.Spec.VolumeName)
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("persistentvolume %q not found", c.Spec.VolumeName)
	case !claim.BoundTo(c, pv):
		return nil, nil, fmt.Errorf("persistentvolume %q is not bound to persistentvolumeclaim %q", pv.Name, name)
	}
	return c, pv, nil
}

// readOnly reports whether the pod's reference to a claim says so.
func readOnly(v *corev1.Volume) bool {
	return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
}

// Expand has CSI drivers grow the pod's volumes here that have grown elsewhere, and
// returns the names of the persistent volumes that did.
func (m *Manager) Expand(pod *corev1.Pod) (grown []string, err error) {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if claim.NameFor(pod, v) == "" {
			continue
		}
		c, pv, err := m.bound(pod, v)
		if err != nil || pv.Spec.CSI == nil {
			continue // Setup says what is wrong
		}
		did, err := m.keep.Drivers.Expand(csi.Volume{Pod: pod, Name: v.Name, PV: pv, Claim: c, ReadOnly: readOnly(v)})
		if err != nil {
			errs = append(errs, fmt.Errorf("NodeExpandVolume failed for volume %q : %w", pv.Name, err))
		}
		if did {
			grown = append(grown, pv.Name)
		}
	}
	return grown, errors.Join(errs...)
}

// claimed makes the volume ready that the claim leads to.
func (m *Manager) claimed(pod *corev1.Pod, v *corev1.Volume) (Volume, error) {
	c, pv, err := m.bound(pod, v)
	if err != nil {
		return Volume{}, err
	}
	out := Volume{ReadOnly: readOnly(v), Device: claim.Block(pv)}
	switch {
	case pv.Spec.CSI != nil:
		out.Path, err = m.keep.Drivers.Publish(csi.Volume{Pod: pod, Name: v.Name, PV: pv, Claim: c, ReadOnly: out.ReadOnly})
		return out, err
	case out.Device && pv.Spec.Local != nil:
		out.Path = pv.Spec.Local.Path
		block := corev1.HostPathBlockDev
		if err := hostPath(&corev1.HostPathVolumeSource{Path: out.Path, Type: &block}); err != nil {
			return Volume{}, fmt.Errorf("persistentvolume %q is to be a block device (volumeMode): %w", pv.Name, err)
		}
		return out, nil
	case out.Device:
		return Volume{}, fmt.Errorf("persistentvolume %q is to be a block device (volumeMode): this node serves those of csi and local", pv.Name)
	case pv.Spec.NFS != nil:
		out.ReadOnly = out.ReadOnly || pv.Spec.NFS.ReadOnly
		out.Path, err = m.nfs(pod, pv.Name, pv.Spec.NFS, pv.Spec.MountOptions)
		return out, err
	case pv.Spec.HostPath != nil:
		on, err := m.hostPath(pv.Spec.HostPath)
		out.Path = on.Path
		return out, err
	case claim.LocalNode(pv) != "":
		if node := m.node().Name; claim.LocalNode(pv) != node {
			return Volume{}, fmt.Errorf("persistentvolume %q lies on node %q, not on %q", pv.Name, claim.LocalNode(pv), node)
		}
		out.Path = m.localDir(pv.Name)
		if of := pv.Annotations[claim.MadeOf]; of != "" && !exists(out.Path) {
			err := cmp.Or(m.keep.Copies.Fault(pv.Name), errBeingMade)
			return Volume{}, fmt.Errorf("persistentvolume %q is to be made of %s: %w", pv.Name, of, err)
		}
		return out, shared(pod, out.Path, true)
	case pv.Spec.Local != nil:
		out.Path = pv.Spec.Local.Path
		return out, shared(pod, out.Path, false)
	}
	return Volume{}, fmt.Errorf("no volume plugin matched: this node serves persistent volumes of csi, nfs, hostPath and local, and %q is none of these", pv.Name)
}

// errBeingMade is why a volume is not there that is a copy of another.
var errBeingMade = errors.New("that is under way")

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// shared makes sure that the directory is there, and gives a new one to everyone
// and any to the pod's group.
func shared(pod *corev1.Pod, dir string, create bool) error {
	st, err := os.Stat(dir)
	fresh := create && errors.Is(err, fs.ErrNotExist)
	switch {
	case fresh:
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777); err != nil { // past the umask
			return err
		}
	case err != nil:
		return fmt.Errorf("the local volume's path is not there: %w", err)
	case !st.IsDir():
		return fmt.Errorf("the local volume's path %s is not a directory", dir)
	}
	g := group(pod)
	if g == nil {
		return nil
	}
	if err := os.Chown(dir, -1, int(*g)); err != nil {
		return err
	}
	st, err = os.Stat(dir)
	if err != nil {
		return err
	}
	return os.Chmod(dir, st.Mode()|fs.ModeSetgid|0o070)
}

// localDir is where the volume of the name lies, if LocalProvisioner made it.
func (m *Manager) localDir(name string) string { return filepath.Join(LocalRoot(m.root), name) }

// LocalRoot is where the volumes of LocalProvisioner lie below a node's root directory; names
// that start with a dot are not theirs.
func LocalRoot(root string) string { return filepath.Join(root, "volumes") }

// Local returns the names of the volumes that lie on this node, sorted.
func (m *Manager) Local() ([]string, error) {
	entries, err := os.ReadDir(LocalRoot(m.root))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Leave removes the data of a volume that lies on this node and is to be deleted: it is
// on its way out or, where gone, has been taken from the cluster.
func (m *Manager) Leave(v *corev1.PersistentVolume, gone bool) (removed bool, err error) {
	bound := v.Status.Phase == corev1.VolumeBound && !gone
	switch {
	case !gone && v.DeletionTimestamp == nil, bound, claim.LocalNode(v) != m.node().Name:
		return false, nil
	case v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete:
		return false, nil
	}
	if err := m.RemoveLocal(v.Name); err != nil {
		return false, fmt.Errorf("removing local volume %s: %w", v.Name, err)
	}
	return true, nil
}

// InUse names the volumes that this node holds, as its status does: local ones with
// data here, and attached ones.
func (m *Manager) InUse() ([]corev1.UniqueVolumeName, error) {
	out, err := m.keep.Drivers.InUse()
	names, err2 := m.Local()
	for _, n := range names {
		out = append(out, claim.LocalName(n))
	}
	return out, errors.Join(err, err2)
}

// RemoveLocal removes a volume that lies on this node, with its data, if there is
// one of the name.
func (m *Manager) RemoveLocal(name string) error {
	if name == "" || filepath.Base(name) != name || name == ".." || name == "." {
		return fmt.Errorf("%q is no name of a volume", name)
	}
	if err := unmountBelow(m.localDir(name)); err != nil {
		return err
	}
	return os.RemoveAll(m.localDir(name))
}
