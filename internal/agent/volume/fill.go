package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// filling is held while a volume that several containers may have is filled.
var filling sync.Mutex

// Fill puts what the container's image has at the places of its volumes into those that
// want that and are empty, and gives them that folder's owner and mode: docker does so
// with every new volume.
func (m *Manager) Fill(pod *corev1.Pod, c *corev1.Container, volumes map[string]Volume) error {
	for _, at := range c.VolumeMounts {
		v := volumes[at.Name]
		if !v.Fill || at.SubPath != "" || at.SubPathExpr != "" {
			continue
		}
		if err := m.fill(pod, c, at.MountPath, v.Path); err != nil {
			return fmt.Errorf("filling volume %s with what the image has at %s: %w", at.Name, at.MountPath, err)
		}
	}
	return nil
}

func (m *Manager) fill(pod *corev1.Pod, c *corev1.Container, path, volume string) error {
	filling.Lock()
	defer filling.Unlock()
	if have, err := os.ReadDir(volume); err != nil || len(have) > 0 {
		return err
	}
	// The image is mounted as an image volume of the pod is, and goes with those: no
	// volume of a pod can have a name with a dot.
	image := &corev1.Volume{Name: "image." + c.Name, VolumeSource: corev1.VolumeSource{
		Image: &corev1.ImageVolumeSource{Reference: c.Image, PullPolicy: corev1.PullIfNotPresent},
	}}
	root, err := m.image(pod, image)
	if err != nil {
		return err
	}
	from, err := openFolder(root, path)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if err = copyTree(fmt.Sprintf("/proc/self/fd/%d/.", from), volume); err == nil {
		return nil
	}
	have, unread := os.ReadDir(volume) // a half is not left for the next one
	for _, e := range have {
		err = errors.Join(err, os.RemoveAll(filepath.Join(volume, e.Name())))
	}
	return errors.Join(err, unread)
}

// openFolder opens a folder below root, out of which no link of it leads.
func openFolder(root, path string) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return unix.Openat2(dir, strings.TrimPrefix(path, "/"), &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: inVolume})
}

// copyTree copies a folder's content, owner and mode over an empty folder. Links are
// copied, not followed.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return copyOne(path, filepath.Join(to, name))
	})
}

func copyOne(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	var err error
	kind := st.Mode & unix.S_IFMT
	switch kind {
	case unix.S_IFDIR:
		if err = os.Mkdir(to, 0o700); errors.Is(err, fs.ErrExist) {
			err = nil // the volume itself
		}
	case unix.S_IFLNK:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = os.Symlink(target, to)
		}
	case unix.S_IFREG:
		err = copyFile(from, to)
	default:
		err = unix.Mknod(to, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if kind == unix.S_IFLNK {
		return nil
	}
	return unix.Chmod(to, st.Mode&0o7777)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
