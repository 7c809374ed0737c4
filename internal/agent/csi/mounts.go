package csi

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// share has what is mounted below dir reach the containers that have it mounted, and
// the other way round. Where the node's mounts are private, dir becomes a mount of its
// own for that.
func share(dir string) error {
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err == nil {
		return nil
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s on itself: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing the mounts below %s: %w", dir, err)
	}
	return nil
}

// mounted reports whether something is mounted at the path itself, also of the same
// file system.
func mounted(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func inode(st fs.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

// own gives a volume to the pod's group: the group may do what the owner may, and
// what is made later is the group's too (Kubernetes, "Configure a Security Context:
// fsGroup"). Where ifNeeded and the volume's root has it right, nothing is touched. Another
// pod may write there meanwhile: os.Root keeps a directory that becomes a link from
// leading out.
func own(dir string, gid int, ifNeeded bool) error {
	if ifNeeded {
		st, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if s, ok := st.Sys().(*syscall.Stat_t); ok && int(s.Gid) == gid && st.Mode()&fs.ModeSetgid != 0 && st.Mode()&0o070 == 0o070 {
			return nil
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := root.Lchown(path, -1, gid); err != nil {
			return err
		}
		if e.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		st, err := root.Lstat(path)
		if err != nil {
			return err
		}
		mode := st.Mode() | 0o660
		if e.IsDir() {
			mode |= fs.ModeSetgid | 0o110
		}
		return root.Chmod(path, mode)
	})
}
