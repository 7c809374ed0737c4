package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"trireme/internal/kind"
)

func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func reader(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// TestExtractGivesUp: a lock that another process holds does not outlast ctx.
func TestExtractGivesUp(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(t.Context(), filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := extract(ctx, dir, "v1", reader(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestExtract(t *testing.T) {
	b := archive(t, map[string]string{"bin/runc": "r", "cni/loopback": "l", "images/pause.tar": "p"})
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			p, err := extract(t.Context(), dir, "v1", reader(b))
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(filepath.Join(p.Bin, "runc")); err != nil || string(got) != "r" {
				t.Errorf("runc holds %q: %v", got, err)
			}
			if len(p.Images) != 1 {
				t.Errorf("images %v", p.Images)
			}
		})
	}
	wg.Wait()
	left, err := filepath.Glob(filepath.Join(dir, "*.new"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestExtractAfterAHalf(t *testing.T) {
	b := archive(t, map[string]string{"bin/runc": "whole"})
	dir := t.TempDir()
	p, err := extract(t.Context(), dir, "v1", reader(b))
	if err != nil {
		t.Fatal(err)
	}
	version := filepath.Dir(p.Bin)
	// As if the process had died while it unpacked.
	if err := os.Rename(version, version+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(version+".new", "bin", "runc"), []byte("ha"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := extract(t.Context(), dir, "v1", reader(b)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(p.Bin, "runc")); err != nil || string(got) != "whole" {
		t.Errorf("runc holds %q: %v", got, err)
	}
}

func TestExtractRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := extract(t.Context(), dir, "v1", reader(archive(t, map[string]string{"../evil": "x"}))); !kind.Is(err, kind.Malformed) {
		t.Errorf("a path that leads outside: %v", err)
	}
	if _, err := extract(t.Context(), dir, "v1", reader([]byte("no archive"))); err == nil {
		t.Error("what is no archive was accepted")
	}
	left, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
