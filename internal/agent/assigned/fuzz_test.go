package assigned

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzLoad: whatever a disk made of the file, it is read, passed over or refused.
func FuzzLoad(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{version})
	f.Add([]byte{version, 1, 2, 3})
	f.Fuzz(func(t *testing.T, in []byte) {
		path := filepath.Join(t.TempDir(), "assignments")
		if err := os.WriteFile(path, in, 0o600); err != nil {
			t.Fatal(err)
		}
		items, err := Load(path)
		for _, i := range items {
			if i.Object == nil || err != nil {
				t.Errorf("%+v, %v", i, err)
			}
		}
	})
}
