package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// cloner makes the new file dst have what src has.
type cloner func(dst, src int) error

// reflink has both files share their blocks.
func reflink(dst, src int) error { return unix.IoctlFileClone(dst, src) }

const (
	depthMax  = 500  // folders within each other; two descriptors are open for each
	namesRead = 1000 // of a folder at a time

	attributesMax = 64 << 10 // bytes: all names of a file's, and one's value (XATTR_LIST_MAX, XATTR_SIZE_MAX)
)

// tree copies one folder with all that is in it.
type tree struct {
	clone cloner
	to    int              // the copy
	links map[inode]string // of files with several names: one that the copy has, below to

	names, value []byte // of extended attributes, as they are read
}

type inode struct{ dev, ino uint64 }

// copyTree makes the folder dst, which must not be there, as the folder src is. What is
// half made when it returns an error is for the caller to remove.
func copyTree(ctx context.Context, src, dst string, clone cloner) error {
	from, err := unix.Open(src, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", src, err)
	}
	defer unix.Close(from)
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	to, err := unix.Open(dst, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", dst, err)
	}
	defer unix.Close(to)
	t := &tree{clone: clone, to: to, links: map[inode]string{}, names: make([]byte, attributesMax), value: make([]byte, attributesMax)}
	if err := t.folder(ctx, pair{from, to}, "."); err != nil {
		return fmt.Errorf("copying %s: %w", src, err)
	}
	return nil
}

// pair is what is copied, and its copy: descriptors.
type pair struct{ from, to int }

// folder copies what is in a folder, and then what is said of it.
func (t *tree) folder(ctx context.Context, p pair, at string) error {
	if depth(at) > depthMax {
		return fmt.Errorf("more than %d folders lie within each other", depthMax)
	}
	fd, err := unix.Openat(p.from, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", at, err)
	}
	list := os.NewFile(uintptr(fd), at)
	defer list.Close()
	for {
		names, err := list.Readdirnames(namesRead)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := t.entry(ctx, p, name, filepath.Join(at, name)); err != nil {
				return err
			}
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(p.from, &st); err != nil {
		return err
	}
	return t.say(p, &st, at)
}

// depth is how many folders lie above what is at a place below the root.
func depth(at string) (n int) {
	for _, c := range at {
		if c == filepath.Separator {
			n++
		}
	}
	return n
}

// entry copies what a folder has under a name. What is gone meanwhile, is mounted there, or
// was copied already, as names may be read twice of a folder that changes, is left out.
func (t *tree) entry(ctx context.Context, in pair, name, at string) error {
	from, err := pin(in.from, name, unix.RESOLVE_NO_XDEV)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EXDEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", at, err)
	}
	defer unix.Close(from)
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return fmt.Errorf("looking at %s: %w", at, err)
	}
	isFolder := st.Mode&unix.S_IFMT == unix.S_IFDIR
	id := inode{st.Dev, st.Ino}
	if first := t.links[id]; first != "" && !isFolder {
		return there(unix.Linkat(t.to, first, in.to, name, 0), at)
	}
	err = t.create(pair{from, in.to}, name, &st)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("copying %s: %w", at, err)
	}
	to, err := pin(in.to, name, 0)
	if err != nil {
		return fmt.Errorf("opening the copy of %s: %w", at, err)
	}
	defer unix.Close(to)
	if isFolder {
		return t.folder(ctx, pair{from, to}, at)
	}
	if st.Nlink > 1 {
		t.links[id] = at
	}
	return t.say(pair{from, to}, &st, at)
}

// pin opens what a folder has under a name, whatever it is, without touching it.
func pin(folder int, name string, resolve uint64) (int, error) {
	return unix.Openat2(folder, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: resolve})
}

func there(err error, at string) error {
	if err == nil || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return fmt.Errorf("linking %s: %w", at, err)
}

// create makes the copy of p.from under a name in the folder p.to, which only root can
// open yet. EEXIST: it is there.
func (t *tree) create(p pair, name string, st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return unix.Mkdirat(p.to, name, 0o700)
	case unix.S_IFREG:
		return t.file(p, name)
	case unix.S_IFLNK:
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(p.from, "", target)
		if err != nil {
			return err
		}
		return unix.Symlinkat(string(target[:n]), p.to, name)
	}
	return unix.Mknodat(p.to, name, st.Mode&unix.S_IFMT|0o600, int(st.Rdev)) // devices, sockets, queues
}

func (t *tree) file(p pair, name string) error {
	from, err := unix.Open(self(p.from), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	to, err := unix.Openat(p.to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(t.clone(to, from), unix.Close(to))
}

// self is the path of what a descriptor stands for, also of a symbolic link itself
// (proc_pid_fd(5)).
func self(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// say says of a copy what is said of what it is of: the owner first, as the kernel takes
// back capabilities and set-user-ID bits with it, the times last.
func (t *tree) say(p pair, st *unix.Stat_t, at string) error {
	if err := unix.Fchownat(p.to, "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("giving the copy of %s its owner: %w", at, err)
	}
	if err := t.attributes(p); err != nil {
		return fmt.Errorf("giving the copy of %s its attributes: %w", at, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(self(p.to), st.Mode&0o7777); err != nil {
			return fmt.Errorf("giving the copy of %s its mode: %w", at, err)
		}
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, self(p.to), []unix.Timespec{st.Atim, st.Mtim}, 0); err != nil {
		return fmt.Errorf("giving the copy of %s its times: %w", at, err)
	}
	return nil
}

// attributes copies the extended attributes, access control lists among them.
func (t *tree) attributes(p pair) error {
	n, err := unix.Listxattr(self(p.from), t.names)
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range split(t.names[:n]) {
		n, err := unix.Getxattr(self(p.from), name, t.value)
		if errors.Is(err, unix.ENODATA) {
			continue // gone meanwhile
		}
		if err == nil {
			err = unix.Setxattr(self(p.to), name, t.value[:n], 0)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// split returns the names in a list that ends each with a zero.
func split(list []byte) (names []string) {
	start := 0
	for i, c := range list {
		if c == 0 {
			names = append(names, string(list[start:i]))
			start = i + 1
		}
	}
	return names
}
