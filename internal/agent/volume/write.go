package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The names of the atomic update: dataLink is a link to the directory with the
// newest content, and every file of the volume is a link through it.
const (
	dataLink = "..data"
	nextLink = "..data_tmp"
)

// write makes dir hold exactly files. Nothing is written where nothing changed.
func write(dir string, files map[string]file, gid *int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old != "" && same(filepath.Join(dir, old), files) {
		return link(dir, files)
	}
	next, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return err
	}
	for name, f := range files {
		if err := writeFile(filepath.Join(next, name), f, gid); err != nil {
			return errors.Join(err, os.RemoveAll(next))
		}
	}
	if err := os.Chmod(next, 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(dir, nextLink)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Base(next), tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	if err := link(dir, files); err != nil {
		return err
	}
	return prune(dir, filepath.Base(next))
}

func writeFile(path string, f file, gid *int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(f.mode) & 0o777
	if err := os.WriteFile(path, f.data, mode); err != nil {
		return err
	}
	if f.uid != nil {
		if err := os.Chown(path, int(*f.uid), -1); err != nil {
			return err
		}
	}
	if gid != nil {
		if err := os.Chown(path, -1, int(*gid)); err != nil {
			return err
		}
		mode |= (mode & 0o700) >> 3 & 0o050 // the group may read what the owner may
	}
	if f.gid != nil {
		if err := os.Chown(path, -1, int(*f.gid)); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode) // past the umask
}

// same reports whether dir holds files and nothing else.
func same(dir string, files map[string]file) bool {
	n := 0
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(p)
		if f, ok := files[name]; err != nil || !ok || !bytes.Equal(b, f.data) {
			return fs.ErrInvalid
		}
		return nil
	})
	return err == nil && n == len(files)
}

// link makes the top-level names that users see.
func link(dir string, files map[string]file) error {
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		target := filepath.Join(dataLink, top)
		if have, err := os.Readlink(filepath.Join(dir, top)); err == nil && have == target {
			continue
		}
		if err := os.Symlink(target, filepath.Join(dir, top)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("linking %s: %w", top, err)
		}
	}
	return nil
}

// prune removes what the newest content no longer has.
func prune(dir, current string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	keep := []string{dataLink, current}
	for _, e := range entries {
		if slices.Contains(keep, e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if _, err := os.Stat(path); err == nil && e.Type()&fs.ModeSymlink != 0 {
			continue // a link that leads somewhere
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
