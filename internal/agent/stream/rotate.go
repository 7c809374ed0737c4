package stream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The bounds of one container's logs (the kubelet's containerLogMaxSize and
// containerLogMaxFiles) and how often they are looked at.
const (
	logBytesMax = 10 << 20
	logFilesMax = 5
	RotateEvery = 10 * time.Second // documented at Rotate
)

// Rotate renames the log at path away when it is over 10 MiB, has the runtime
// open a new one, and removes the oldest but four. It is called every
// RotateEvery.
func Rotate(path string, reopen func() error) error {
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && st.Size() < logBytesMax {
		return nil
	}
	if err != nil {
		return err
	}
	old := path + "." + time.Now().UTC().Format("20060102-150405.000000000")
	if err := os.Rename(path, old); err != nil {
		return fmt.Errorf("renaming log: %w", err)
	}
	if err := reopen(); err != nil {
		return errors.Join(fmt.Errorf("reopening log %s: %w", path, err), os.Rename(old, path))
	}
	olds, err := filepath.Glob(path + ".*")
	if err != nil {
		return err
	}
	slices.SortFunc(olds, strings.Compare)
	for _, name := range olds[:max(0, len(olds)-(logFilesMax-1))] {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("removing an old log: %w", err)
		}
	}
	return nil
}
