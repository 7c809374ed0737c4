package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

// Where things are: see the package comment.
const (
	folder = ".snapshots"
	data   = "data"
	about  = "made.json"
	half   = "." // starts the names of what is half made or half removed
)

// disk is the folder of a node's volumes.
type disk struct {
	dir   string
	clone cloner
}

// made is what is known of a snapshot on the disk.
type made struct {
	Created time.Time `json:"created"`
	Bytes   int64     `json:"bytes"` // that its volume was to have
}

func (d disk) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir, folder}, parts...)...)
}

// clean removes what was half made or half removed when the last agent ended.
func (d disk) clean() error {
	entries, err := os.ReadDir(d.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), half) {
			errs = append(errs, os.RemoveAll(d.path(e.Name())))
		}
	}
	return errors.Join(errs...)
}

// snapshot returns what is known of a snapshot; fs.ErrNotExist: there is none of the name.
func (d disk) snapshot(name string) (m made, err error) {
	b, err := os.ReadFile(d.path(name, about))
	if err != nil {
		return made{}, err
	}
	return m, json.Unmarshal(b, &m)
}

// take makes a snapshot of a volume that is to have so many bytes.
func (d disk) take(ctx context.Context, volume, name string, bytes int64) (m made, err error) {
	if _, err := os.Lstat(filepath.Join(d.dir, volume)); errors.Is(err, fs.ErrNotExist) {
		return made{}, fmt.Errorf("volume %s has no data on this node yet: a pod has to use it first", volume)
	}
	m = made{Created: time.Now().UTC(), Bytes: bytes}
	return m, d.build(half+name, d.path(name), func(at string) error {
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if err := os.Mkdir(at, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(at, about), b, 0o600); err != nil {
			return err
		}
		return copyTree(ctx, filepath.Join(d.dir, volume), filepath.Join(at, data), d.clone)
	})
}

// restore makes a volume of a snapshot, duplicate one of another volume.
func (d disk) restore(ctx context.Context, name, volume string) error {
	if _, err := d.snapshot(name); err != nil {
		return fmt.Errorf("snapshot %s is not on this node: %w", name, err)
	}
	return d.volume(ctx, d.path(name, data), volume)
}

func (d disk) duplicate(ctx context.Context, from, volume string) error {
	return d.volume(ctx, filepath.Join(d.dir, from), volume)
}

func (d disk) volume(ctx context.Context, from, volume string) error {
	return d.build(half+"volume-"+volume, filepath.Join(d.dir, volume), func(at string) error {
		return copyTree(ctx, from, at, d.clone)
	})
}

// build has something made under a name for what is half made, brings it to the disk and
// gives it its own name.
func (d disk) build(name, to string, fill func(at string) error) error {
	if err := os.MkdirAll(d.path(), 0o700); err != nil {
		return err
	}
	if err := d.able(); err != nil {
		return err
	}
	at := d.path(name)
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	err := fill(at)
	if err == nil {
		err = d.sync()
	}
	if err == nil {
		err = os.Rename(at, to)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(at))
	}
	return d.sync()
}

// sync brings all that was written to the file system to the disk: one call for all files
// of a copy.
func (d disk) sync() error {
	f, err := os.Open(d.path())
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// able says why files here cannot share blocks, nil where they can.
func (d disk) able() error {
	from, err := os.CreateTemp(d.path(), half+"able-")
	if err != nil {
		return err
	}
	defer discard(from)
	if _, err := from.WriteString("x"); err != nil {
		return err
	}
	to, err := os.CreateTemp(d.path(), half+"able-")
	if err != nil {
		return err
	}
	defer discard(to)
	err = d.clone(int(to.Fd()), int(from.Fd()))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return kind.New(kind.Invalid, "the file system of %s (%s) cannot share blocks between files, as snapshots have to: keep that folder on XFS made with reflink=1, or on Btrfs", d.dir, fileSystem(d.dir))
	}
	return err
}

func discard(f *os.File) {
	f.Close()
	os.Remove(f.Name())
}

// fileSystem returns the name of the kind of file system that a folder is on, as mount(8)
// has it; its magic number where it is not a usual one.
func fileSystem(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err.Error()
	}
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", unix.F2FS_SUPER_MAGIC: "f2fs", 0x2fc12fc1: "zfs",
	}
	if name := names[int64(st.Type)]; name != "" {
		return name
	}
	return fmt.Sprintf("%#x", st.Type)
}

// remove removes a snapshot, if it is there. It has its name no more before the first file
// goes.
func (d disk) remove(name string) error {
	at := d.path(half + name)
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	err := os.Rename(d.path(name), at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(at)
}
