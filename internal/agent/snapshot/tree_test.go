package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// byBytes stands for sharing blocks on file systems that cannot: it copies.
func byBytes(dst, src int) error {
	buf := make([]byte, 1<<16)
	for at := int64(0); ; {
		n, err := unix.Pread(src, buf, at)
		if err != nil || n == 0 {
			return err
		}
		if _, err := unix.Pwrite(dst, buf[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
}

// TestTree: a copy is what the folder was, in all that can be said of files.
func TestTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners and devices are root's to give")
	}
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	must(t, os.MkdirAll(filepath.Join(src, "sub/deep"), 0o755))
	must(t, os.WriteFile(filepath.Join(src, "sub/file"), []byte("text"), 0o644))
	must(t, os.Link(filepath.Join(src, "sub/file"), filepath.Join(src, "sub/deep/same")))
	must(t, os.WriteFile(filepath.Join(src, "run"), []byte("#!"), 0o755))
	must(t, unix.Setxattr(filepath.Join(src, "run"), "user.note", []byte("mine"), 0))
	must(t, unix.Setxattr(filepath.Join(src, "run"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	must(t, os.Symlink("/etc/passwd", filepath.Join(src, "out")))
	must(t, os.Symlink("..", filepath.Join(src, "up")))
	must(t, os.Symlink("nowhere", filepath.Join(src, "dangling")))
	must(t, unix.Mkfifo(filepath.Join(src, "queue"), 0o622))
	must(t, unix.Mknod(filepath.Join(src, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(filepath.Join(src, "socket"), unix.S_IFSOCK|0o600, 0))
	must(t, os.Chown(filepath.Join(src, "sub/file"), 1234, 5678))
	must(t, os.Lchown(filepath.Join(src, "out"), 12, 34))
	must(t, unix.Chmod(filepath.Join(src, "sub"), 0o3751))
	must(t, unix.Chmod(filepath.Join(src, "run"), 0o4711))
	must(t, os.Mkdir(filepath.Join(src, "closed"), 0))
	for _, name := range []string{"sub/file", "out", "queue", "closed", "sub/deep", "sub", "."} {
		times := []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: 1e9, Nsec: int64(len(name))}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(src, name), times, unix.AT_SYMLINK_NOFOLLOW))
	}
	before := describe(t, src)
	dst := filepath.Join(dir, "dst")
	must(t, copyTree(t.Context(), src, dst, byBytes))
	if after := describe(t, dst); after != before {
		t.Errorf("the copy is\n%s\nwant\n%s", after, before)
	}
	var a, b unix.Stat_t
	must(t, unix.Lstat(filepath.Join(dst, "sub/file"), &a))
	must(t, unix.Lstat(filepath.Join(dst, "sub/deep/same"), &b))
	if a.Ino != b.Ino || a.Nlink != 2 {
		t.Errorf("two names of one file became inodes %d and %d with %d names", a.Ino, b.Ino, a.Nlink)
	}
}

// describe returns a line for each file below a folder: all but inode numbers and the times
// of reading, which walking changes.
func describe(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %o %d:%d dev %d links %d at %d.%d", rel, st.Mode, st.Uid, st.Gid, st.Rdev, st.Nlink, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			note := make([]byte, 100)
			n, _ := unix.Lgetxattr(path, "user.note", note)
			m, _ := unix.Lgetxattr(path, "security.capability", note[50:])
			fmt.Fprintf(&b, " %q %q %x", content, note[:max(0, n)], note[50:50+max(0, m)])
		case unix.S_IFLNK:
			target, _ := os.Readlink(path)
			fmt.Fprintf(&b, " -> %s", target)
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

// TestTreeStaysWithin: nothing outside of the folder is read, whatever its owner makes of a
// name while it is copied, and what is mounted within is not a part of it.
func TestTreeStaysWithin(t *testing.T) {
	dir := t.TempDir()
	src, secret := filepath.Join(dir, "src"), filepath.Join(dir, "secret")
	must(t, os.MkdirAll(filepath.Join(src, "a"), 0o755))
	must(t, os.MkdirAll(secret, 0o755))
	must(t, os.WriteFile(filepath.Join(secret, "f"), []byte("secret"), 0o600))
	for i := range 20 {
		must(t, os.WriteFile(filepath.Join(src, "a", fmt.Sprint("f", i)), []byte("own"), 0o644))
	}
	if os.Geteuid() == 0 {
		mounted := filepath.Join(src, "mounted")
		must(t, os.Mkdir(mounted, 0o755))
		must(t, unix.Mount(secret, mounted, "", unix.MS_BIND, ""))
		defer unix.Unmount(mounted, unix.MNT_DETACH)
	}
	// With the first file that is copied the folder becomes a link to the secret, and so do
	// the files.
	turned := false
	turn := func(dst, from int) error {
		if !turned {
			turned = true
			must(t, os.Rename(filepath.Join(src, "a"), filepath.Join(src, "b")))
			must(t, os.Symlink(secret, filepath.Join(src, "a")))
			for i := range 20 {
				name := filepath.Join(src, "b", fmt.Sprint("f", i))
				must(t, os.Remove(name))
				must(t, os.Symlink(filepath.Join(secret, "f"), name))
			}
		}
		return byBytes(dst, from)
	}
	dst := filepath.Join(dir, "dst")
	must(t, copyTree(t.Context(), src, dst, turn))
	must(t, filepath.WalkDir(dst, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if b, err := os.ReadFile(path); err != nil || string(b) == "secret" {
				t.Errorf("%s was copied from outside: %q, %v", path, b, err)
			}
		}
		return err
	}))
	if _, err := os.Lstat(filepath.Join(dst, "mounted")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is mounted in the folder was copied: %v", err)
	}
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(secret, link))
	if err := copyTree(t.Context(), link, filepath.Join(dir, "of-link"), byBytes); err == nil {
		t.Error("a volume that is a symbolic link was copied")
	}
}

// TestTreeEnds: a folder too deep, an error in the middle and the agent's end are errors.
func TestTreeEnds(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "deep")
	must(t, os.Mkdir(deep, 0o755))
	fd, err := unix.Open(deep, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	for range depthMax + 2 {
		must(t, unix.Mkdirat(fd, "d", 0o755))
		next, err := unix.Openat(fd, "d", unix.O_PATH|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = next
	}
	must(t, unix.Close(fd))
	if err := copyTree(t.Context(), deep, filepath.Join(dir, "1"), byBytes); err == nil || !strings.Contains(err.Error(), "more than 500 folders") {
		t.Errorf("copying a folder too deep: %v", err)
	}
	src := filepath.Join(dir, "src")
	must(t, os.Mkdir(src, 0o755))
	must(t, os.WriteFile(filepath.Join(src, "f"), []byte("x"), 0o644))
	if err := copyTree(t.Context(), src, filepath.Join(dir, "2"), func(int, int) error { return unix.EIO }); !errors.Is(err, unix.EIO) {
		t.Errorf("copying from a broken disk: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := copyTree(ctx, src, filepath.Join(dir, "3"), byBytes); !errors.Is(err, context.Canceled) {
		t.Errorf("copying while the agent ends: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
