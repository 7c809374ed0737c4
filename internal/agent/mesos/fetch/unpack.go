package fetch

import (
	"archive/tar"
	"archive/zip"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/xi2/xz"
)

// archives are the endings of names by which Mesos' fetcher knows archives, longer ones
// first.
var archives = []struct {
	ending string
	unpack func(u *unpacking, f *os.File) error
}{
	{".tar.bz2", tarOf(bunzip)}, {".tar.gz", tarOf(gunzip)}, {".tar.xz", tarOf(unxz)}, {".tbz2", tarOf(bunzip)},
	{".tgz", tarOf(gunzip)}, {".txz", tarOf(unxz)}, {".tar", tarOf(plain)}, {".zip", (*unpacking).zip}, {".gz", (*unpacking).gz},
}

type decoder func(io.Reader) (io.Reader, error)

func plain(r io.Reader) (io.Reader, error)  { return r, nil }
func bunzip(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }
func gunzip(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }
func unxz(r io.Reader) (io.Reader, error)   { return xz.NewReader(r, xzWindowMax) }

// xzWindowMax is the most memory that unpacking .xz may take, in bytes: xz -9 wants 64 MiB.
const xzWindowMax = 128 << 20

// unpacking is one archive being unpacked beside itself.
type unpacking struct {
	ctx     context.Context // of this one archive
	root    *os.Root
	name    string // the archive's, in the sandbox
	dir     string // where it lies
	bytes   int64  // that may still be written
	entries int
	limits  Limits
}

// unpack unpacks the file if its name says that it is an archive.
func unpack(ctx context.Context, root *os.Root, name string, l Limits) error {
	for _, a := range archives {
		if !strings.HasSuffix(name, a.ending) {
			continue
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		u := &unpacking{ctx: ctx, root: root, name: name, dir: path.Dir(name), bytes: l.UnpackedBytes, limits: l}
		if err := a.unpack(u, f); err != nil {
			return fmt.Errorf("unpacking %s: %w", name, err)
		}
		return nil
	}
	return nil
}

func tarOf(decode decoder) func(*unpacking, *os.File) error {
	return func(u *unpacking, f *os.File) error {
		r, err := decode(f)
		if err != nil {
			return err
		}
		for t := tar.NewReader(r); ; {
			h, err := t.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := u.tarEntry(h, t); err != nil {
				return err
			}
		}
	}
}

func (u *unpacking) tarEntry(h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeDir:
		return u.dirEntry(h.Name, h.FileInfo().Mode())
	case tar.TypeReg:
		return u.fileEntry(h.Name, h.FileInfo().Mode(), r)
	case tar.TypeSymlink:
		return u.link(h.Name, h.Linkname)
	}
	return fmt.Errorf("entry %q is neither a file, a folder nor a symbolic link", h.Name)
}

func (u *unpacking) zip(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(f, st.Size())
	if err != nil {
		return err
	}
	for _, e := range z.File {
		if err := u.zipEntry(e); err != nil {
			return err
		}
	}
	return nil
}

// linkMax bounds the target of a symbolic link, in bytes.
const linkMax = 4096

func (u *unpacking) zipEntry(e *zip.File) error {
	mode := e.Mode()
	if mode.IsDir() {
		return u.dirEntry(e.Name, mode)
	}
	r, err := e.Open()
	if err != nil {
		return fmt.Errorf("entry %q: %w", e.Name, err)
	}
	defer r.Close()
	switch {
	case mode.IsRegular():
		return u.fileEntry(e.Name, mode, r)
	case mode&fs.ModeSymlink != 0:
		to, err := io.ReadAll(io.LimitReader(r, linkMax))
		if err != nil {
			return fmt.Errorf("entry %q: %w", e.Name, err)
		}
		return u.link(e.Name, string(to))
	}
	return fmt.Errorf("entry %q is neither a file, a folder nor a symbolic link", e.Name)
}

// gz unpacks the one file that a .gz is, which loses the ending.
func (u *unpacking) gz(f *os.File) error {
	r, err := gunzip(f)
	if err != nil {
		return err
	}
	return u.fileEntry(strings.TrimSuffix(path.Base(u.name), ".gz"), 0o644, r)
}

// place returns where an entry goes.
func (u *unpacking) place(name string) (string, error) {
	if err := u.ctx.Err(); err != nil {
		return "", context.Cause(u.ctx)
	}
	if u.entries++; u.entries > u.limits.Entries {
		return "", fmt.Errorf("it has more entries than the limit of %d", u.limits.Entries)
	}
	clean := path.Clean(name)
	if !filepath.IsLocal(clean) || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("entry %q would leave the sandbox", name)
	}
	return path.Join(u.dir, clean), nil
}

func (u *unpacking) dirEntry(name string, mode fs.FileMode) error {
	to, err := u.place(name)
	if err != nil {
		return err
	}
	if err := u.root.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	if to == u.dir {
		return nil // the sandbox keeps its own
	}
	return u.root.Chmod(to, mode.Perm()|0o700)
}

func (u *unpacking) fileEntry(name string, mode fs.FileMode, r io.Reader) error {
	to, err := u.place(name)
	if err != nil {
		return err
	}
	if err := u.fileAt(to, mode.Perm(), r); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	return nil
}

func (u *unpacking) fileAt(to string, mode fs.FileMode, r io.Reader) error {
	if err := u.parent(to); err != nil {
		return err
	}
	f, err := u.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, &capped{from: r, left: u.bytes, what: "what the archive holds", max: u.limits.UnpackedBytes})
	u.bytes -= n
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// parent makes the folder that the entry is in, and takes away what has its name: an archive
// replaces what was there, but never writes through a link.
func (u *unpacking) parent(to string) error {
	if err := u.root.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	if err := u.root.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// link makes a symbolic link; it may lead to what is in the sandbox, by a relative path.
func (u *unpacking) link(name, to string) error {
	at, err := u.place(name)
	if err != nil {
		return err
	}
	if path.IsAbs(to) || !filepath.IsLocal(path.Join(path.Dir(at), to)) {
		return fmt.Errorf("entry %q is a link to %q, out of the sandbox", name, to)
	}
	if err := u.parent(at); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	return u.root.Symlink(to, at)
}
