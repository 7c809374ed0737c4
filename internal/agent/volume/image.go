package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/runtime/overlay"
)

// Images brings what image volumes show. A holder is one volume of one pod.
type Images interface {
	// Layers brings the image, if it is not here, and returns the folders of its layers,
	// the top one first. They stay until Release.
	Layers(pod *corev1.Pod, src *corev1.ImageVolumeSource, holder string) ([]string, error)
	// Release lets go of them; it is no error if there are none.
	Release(holder string) error
}

// imageKind is the folder of a pod's image volumes.
const imageKind = "image"

// imageFlags are how an image is mounted on the node. A container's runtime makes its own
// mount of it, which is read-only and may be run from.
const imageFlags = unix.MS_RDONLY | unix.MS_NOEXEC | unix.MS_NODEV | unix.MS_NOSUID

// image mounts an image's layers, and returns where. What is mounted stays as it
// was, whatever the name means later.
func (m *Manager) image(pod *corev1.Pod, v *corev1.Volume) (string, error) {
	dir := m.dir(pod.UID, imageKind, v.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the volume's folder: %w", err)
	}
	if mounted(dir) {
		return dir, nil
	}
	layers, err := m.keep.Images.Layers(pod, v.Image, holder(pod.UID, v.Name))
	if err != nil {
		return "", err
	}
	if err := mountLayers(layers, dir); err != nil {
		return "", fmt.Errorf("mounting image %s: %w", v.Image.Reference, err)
	}
	return dir, nil
}

// mountLayers mounts the only layer, or lays them over each other, as overlayfs does.
func mountLayers(layers []string, dir string) error {
	if len(layers) > 1 {
		return overlay.Mount(overlay.Layers{Target: dir, Flags: imageFlags, Lower: layers})
	}
	if err := unix.Mount(layers[0], dir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|imageFlags, ""); err != nil {
		return errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH))
	}
	return nil
}

func holder(uid types.UID, volume string) string { return string(uid) + "-" + volume }

// releaseImages unmounts a pod's image volumes and lets go of their layers. Their
// folders, which name them, stay until it has.
func (m *Manager) releaseImages(uid types.UID) error {
	dir := filepath.Dir(m.dir(uid, imageKind, "any"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := unmountBelow(dir); err != nil {
		return err
	}
	for _, e := range entries {
		if err := m.keep.Images.Release(holder(uid, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
