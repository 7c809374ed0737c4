package volume

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"golang.org/x/sys/unix"
)

// inVolume confines a path's resolution: absolute links start at the volume, and
// the links of /proc lead nowhere.
const inVolume = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// SubPath names one sub path: the Index-th mount of the container.
type SubPath struct {
	Pod       *corev1.Pod
	Volume    string // its name
	Base      string // where the volume lies
	Container string
	Index     int
	Path      string // relative to the volume
}

// Mount makes a directory at the path if there is nothing, and returns where the
// path is bound. A path that would leave the volume stays in it.
func (m *Manager) Mount(s SubPath) (string, error) {
	if path.IsAbs(s.Path) || strings.HasPrefix(path.Clean(s.Path), "..") {
		return "", fmt.Errorf("subPath %q must be relative and below the volume", s.Path)
	}
	fd, err := openIn(s.Base, path.Clean(s.Path))
	if err != nil {
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", s.Volume, s.Container, err)
	}
	defer unix.Close(fd)
	target := filepath.Join(m.PodDir(s.Pod.UID), "volume-subpaths", s.Volume, s.Container, strconv.Itoa(s.Index))
	if err := place(fd, target); err != nil {
		return "", err
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("binding subPath %q: %w", s.Path, err)
	}
	return target, nil
}

// openIn opens name below base, making the directories that are missing.
func openIn(base, name string) (int, error) {
	root, err := unix.Open(base, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening volume %s: %w", base, err)
	}
	defer unix.Close(root)
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: inVolume}
	fd, err := unix.Openat2(root, name, how)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return -1, err
	}
	at, err := unix.Dup(root)
	if err != nil {
		return -1, err
	}
	done := "."
	for _, part := range strings.Split(name, "/") {
		err := unix.Mkdirat(at, part, 0o700)
		if err == nil { // who may use the volume may use the directory
			err = unix.Fchmodat(at, part, st.Mode&0o7777, 0)
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			unix.Close(at)
			return -1, err
		}
		done = path.Join(done, part)
		next, err := unix.Openat2(root, done, how)
		unix.Close(at)
		if err != nil {
			return -1, err
		}
		at = next
	}
	return at, nil
}

// place makes the mount point: a directory for a directory, else a file. What an
// earlier start bound there is unbound.
func place(fd int, target string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	for unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return os.MkdirAll(target, 0o750)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}
