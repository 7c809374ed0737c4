package usage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestDiskUse(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "a", "big")
	err := errors.Join(os.Mkdir(filepath.Dir(big), 0o755), os.WriteFile(big, make([]byte, 1<<20), 0o600), os.Link(big, filepath.Join(dir, "link")),
		os.Symlink("/usr", filepath.Join(dir, "away")))
	if err != nil {
		t.Fatal(err)
	}
	bytes, inodes := DiskUse(dir)
	if bytes < 1<<20 || bytes > 1<<20+64<<10 || inodes != 4 {
		t.Errorf("%d bytes in %d inodes, want a MiB once and 4", bytes, inodes)
	}
	if bytes, inodes := DiskUse(filepath.Join(dir, "none")); bytes != 0 || inodes != 0 {
		t.Errorf("nothing has %d bytes, %d inodes", bytes, inodes)
	}
}
