package overlay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestManyLayers: layers whose paths are longer than a mount's options may be are laid
// over each other all the same, the first at the top; too many are refused.
func TestManyLayers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	dir := t.TempDir()
	target, base := filepath.Join(dir, "target"), filepath.Join(dir, strings.Repeat("long", 40))
	l := Layers{Target: target, Flags: unix.MS_RDONLY}
	for i := range 60 {
		layer := filepath.Join(base, fmt.Sprint(i))
		if err := os.MkdirAll(layer, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"top", fmt.Sprintf("of-%d", i)} {
			if err := os.WriteFile(filepath.Join(layer, name), []byte(fmt.Sprint(i)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		l.Lower = append(l.Lower, layer)
	}
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Mount(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for name, want := range map[string]string{"top": "0", "of-59": "59"} {
		if got, err := os.ReadFile(filepath.Join(target, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, want %q: %v", name, got, want, err)
		}
	}
	for len(l.Lower) < dataMax {
		l.Lower = append(l.Lower, l.Lower...)
	}
	if err := Mount(l); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("%d layers: %v", len(l.Lower), err)
	}
}
