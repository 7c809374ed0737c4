// Package tarball checks archives on their way between a container and a client of
// docker's, neither of which is trusted: names that lead out of where they belong, and
// links that would, are errors; devices and pipes are left out.
//
// It streams and keeps nothing. It is not for making archives (the image's own tar does)
// nor for images.
//
// How to debug: errors name the entry.
package tarball

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Split returns where a path is and what it is called there; one that ends with a slash is
// what is in it.
func Split(asked string) (dir, base string) {
	clean := path.Clean("/" + asked)
	if strings.HasSuffix(asked, "/") || strings.HasSuffix(asked, "/.") || clean == "/" {
		return clean, "."
	}
	return path.Dir(clean), path.Base(clean)
}

// below brings an entry's name into the form that clients expect, and refuses what is not
// below base: the container's own program made it.
func below(h *tar.Header, base string) error {
	name := path.Clean(h.Name)
	if name != base && base != "." && !strings.HasPrefix(name, base+"/") || outside(name) {
		return fmt.Errorf("the archive has %q, which is not below %s", h.Name, base)
	}
	if h.Typeflag == tar.TypeLink {
		if h.Linkname = path.Clean(h.Linkname); outside(h.Linkname) {
			return fmt.Errorf("the archive links %q to %q, outside of it", h.Name, h.Linkname)
		}
	}
	if h.Typeflag == tar.TypeDir {
		name += "/"
	}
	h.Name = name
	return nil
}

func outside(name string) bool {
	return path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../")
}

// Below copies the entries, from first on, of an archive that a container's own program
// made of base, but for what is in the folders without, which are paths below it.
func Below(to io.Writer, from *tar.Reader, first *tar.Header, base string, without ...string) error {
	return copyTar(tar.NewWriter(to), from, first, func(h *tar.Header) error {
		for _, dir := range without {
			if strings.HasPrefix(path.Clean(h.Name)+"/", dir+"/") {
				return errLeftOut
			}
		}
		return below(h, base)
	})
}

// errLeftOut is of an entry that is not copied.
var errLeftOut = errors.New("left out")

// copyTar copies entries, from first on, that check lets through. Devices and pipes are
// left out: a copy is of files.
func copyTar(to *tar.Writer, from *tar.Reader, first *tar.Header, check func(*tar.Header) error) error {
	for h, err := first, error(nil); ; h, err = from.Next() {
		if errors.Is(err, io.EOF) {
			return to.Close()
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
		default:
			continue
		}
		if err := check(h); errors.Is(err, errLeftOut) {
			continue
		} else if err != nil {
			return err
		}
		h.Format = tar.FormatUnknown // whichever holds it
		if err := to.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(to, from); err != nil {
			return err
		}
	}
}

// Unzipped takes gzip off, where it is.
func Unzipped(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		return gzip.NewReader(b)
	}
	return b, nil
}

// Check copies an archive that a client sends. Links may not lead out of it, or a later
// entry would; owners are root's, unless they are asked for.
func Check(to io.Writer, from *tar.Reader, owned bool) error {
	first, err := from.Next()
	out := tar.NewWriter(to)
	if errors.Is(err, io.EOF) {
		return out.Close()
	}
	if err != nil {
		return fmt.Errorf("reading the archive: %w", err)
	}
	links := map[string]bool{}
	return copyTar(out, from, first, func(h *tar.Header) error {
		name := path.Clean(strings.TrimLeft(h.Name, "/"))
		if outside(name) {
			return fmt.Errorf("the archive has %q, which leads out of the folder", h.Name)
		}
		for at := name; at != "."; at = path.Dir(at) {
			if links[at] {
				return fmt.Errorf("the archive has %q, below its own link %q", h.Name, at)
			}
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			links[name] = true
		case tar.TypeLink:
			if h.Linkname = path.Clean(h.Linkname); outside(h.Linkname) {
				return fmt.Errorf("the archive links %q to %q, outside of it", h.Name, h.Linkname)
			}
		}
		if h.Typeflag == tar.TypeDir {
			name += "/"
		}
		if h.Name = name; !owned {
			h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		}
		return nil
	})
}
