// Command mkbundle packs a folder into a tar.zst that depends on nothing but the
// files' names, modes and contents: the same input gives the same bytes. Beside
// NAME.tar.zst it writes NAME.sha256, the digest of the archive in hex.
//
//	mkbundle DIR NAME.tar.zst
package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: mkbundle DIR FILE")
		os.Exit(2)
	}
	if err := pack(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func pack(dir, out string) error {
	tmp, err := os.CreateTemp(filepath.Dir(out), "bundle-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	sum := sha256.New()
	z, err := zstd.NewWriter(io.MultiWriter(tmp, sum), zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return add(t, dir, path)
	}); err != nil {
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	for _, c := range []io.Closer{t, z, tmp} {
		if err := c.Close(); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp.Name(), out); err != nil {
		return err
	}
	return os.WriteFile(strings.TrimSuffix(out, ".tar.zst")+".sha256", []byte(hex.EncodeToString(sum.Sum(nil))+"\n"), 0o644)
}

func add(t *tar.Writer, dir, path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{
		Name: filepath.ToSlash(rel), Mode: int64(st.Mode().Perm()), Size: st.Size(), ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg,
	}); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(t, f)
	return err
}
