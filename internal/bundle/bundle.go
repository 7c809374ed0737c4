package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

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
	b, err := assets.ReadFile("assets/bundle.tar.zst")
	if errors.Is(err, fs.ErrNotExist) {
		return Paths{}, kind.New(kind.Unavailable, "this binary was built without its bundle of containerd and images: build it with `make build`, or name a container runtime with --cri-endpoint")
	}
	if err != nil {
		return Paths{}, err
	}
	p, err := extract(ctx, dir, b)
	if err != nil {
		return Paths{}, fmt.Errorf("unpacking the bundle below %s: %w", dir, err)
	}
	return p, nil
}

func extract(ctx context.Context, dir string, archive []byte) (Paths, error) {
	sum := sha256.Sum256(archive)
	target := filepath.Join(dir, hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(target); err == nil {
		return paths(target)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Paths{}, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return Paths{}, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return Paths{}, err
	}
	if _, err := os.Stat(target); err == nil {
		return paths(target)
	}
	// A half that an earlier process left is removed; a whole one appears at once.
	tmp := target + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return Paths{}, err
	}
	if err := unpack(ctx, tmp, archive); err != nil {
		return Paths{}, errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, target); err != nil {
		return Paths{}, err
	}
	return paths(target)
}

func paths(dir string) (Paths, error) {
	images, err := filepath.Glob(filepath.Join(dir, "images", "*.tar"))
	return Paths{Bin: filepath.Join(dir, "bin"), CNI: filepath.Join(dir, "cni"), Images: images}, err
}

func unpack(ctx context.Context, dir string, archive []byte) error {
	// One decoder, small windows: this runs once and in a process that should
	// stay small.
	z, err := zstd.NewReader(bytes.NewReader(archive), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
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
	return f.Close()
}
