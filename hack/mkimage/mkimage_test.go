package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// TestSameBytes: the same files give the same image, byte for byte.
func TestSameBytes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	var first []byte
	for range 10 {
		out := filepath.Join(dir, "image.tar")
		if err := run("example.local/x:1", out, false, []string{file + "=/f"}, v1.Config{Entrypoint: []string{"/f"}}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, b) {
			t.Fatal("the same input gave other bytes")
		}
		first = b
	}
	img, err := tarball.ImageFromPath(filepath.Join(dir, "image.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if cf, err := img.ConfigFile(); err != nil || cf.Config.Entrypoint[0] != "/f" {
		t.Errorf("entrypoint: %v, %v", cf, err)
	}
}

func TestRefuses(t *testing.T) {
	for _, c := range [][]string{{"no=/such"}, {"nothing"}} {
		if err := run("example.local/x:1", filepath.Join(t.TempDir(), "o"), false, c, v1.Config{}); err == nil {
			t.Errorf("%v was accepted", c)
		}
	}
}
