package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"trireme/internal/kind"
)

// The names of the images that the bundle brings.
const (
	PauseImage = "trireme.local/pause:1"
	WebImage   = "trireme.local/web:1"
)

//go:embed assets
var assets embed.FS

// Paths is where the unpacked parts are. All are absolute.
type Paths struct {
	Bin    string   // folder of containerd, containerd-shim-runc-v2, runc, ctr
	CNI    string   // folder of the CNI plugins
	Images []string // docker archives
}

// Extract unpacks the bundle below dir, unless that version is there, and
// returns where its parts are. Other versions are left: containers that run may
// still use them. It may be called by several processes at once.
func Extract(ctx context.Context, dir string) (Paths, error) {
	version, err := assets.ReadFile("assets/bundle.sha256")
	if errors.Is(err, fs.ErrNotExist) {
		return Paths{}, kind.New(kind.Unavailable, "this binary was built without its bundle of containerd and images: build it with `make build`, or name a container runtime with --cri-endpoint")
	}
	if err != nil {
		return Paths{}, err
	}
	// Opened, not read: tens of megabytes that are touched once in a version's life.
	open := func() (io.ReadCloser, error) { return assets.Open("assets/bundle.tar.zst") }
	p, err := extract(ctx, dir, string(bytes.TrimSpace(version)), open)
	if err != nil {
		return Paths{}, fmt.Errorf("unpacking the bundle below %s: %w", dir, err)
	}
	return p, nil
}

// nameMax is how much of a version's digest names its folder: what lies in it
// becomes part of the paths of sockets and mounts.
const nameMax = 16

func extract(ctx context.Context, dir, version string, open func() (io.ReadCloser, error)) (Paths, error) {
	target := filepath.Join(dir, version[:min(len(version), nameMax)])
	if _, err := os.Stat(target); err == nil {
		return paths(target)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Paths{}, err
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return Paths{}, err
	}
	defer unlock()
	if _, err := os.Stat(target); err == nil {
		return paths(target)
	}
	// A half that an earlier process left is removed; a whole one appears at once,
	// and on the disk before its name is.
	tmp := target + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return Paths{}, err
	}
	archive, err := open()
	if err != nil {
		return Paths{}, err
	}
	defer archive.Close()
	if err := unpack(ctx, tmp, archive); err != nil {
		return Paths{}, errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, target); err != nil {
		return Paths{}, err
	}
	if err := syncDir(dir); err != nil {
		return Paths{}, err
	}
	return paths(target)
}

// lockEvery is how often a lock that another process holds is tried again.
const lockEvery = 50 * time.Millisecond

// lock takes the file's lock, or gives up with ctx.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for another process that holds %s: %w", path, ctx.Err())
		}
	}
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func paths(dir string) (Paths, error) {
	images, err := filepath.Glob(filepath.Join(dir, "images", "*.tar"))
	return Paths{Bin: filepath.Join(dir, "bin"), CNI: filepath.Join(dir, "cni"), Images: images}, err
}

func unpack(ctx context.Context, dir string, archive io.Reader) error {
	// One decoder, small windows: this runs once and in a process that should
	// stay small.
	z, err := zstd.NewReader(archive, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	defer z.Close()
	for t := tar.NewReader(z); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) || h.Typeflag != tar.TypeReg {
			return kind.New(kind.Malformed, "entry %q is not a file below the folder", h.Name)
		}
		if err := writeFile(filepath.Join(dir, h.Name), fs.FileMode(h.Mode).Perm(), t); err != nil {
			return err
		}
	}
}

func writeFile(path string, mode fs.FileMode, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}
