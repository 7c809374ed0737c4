// Package overlay lays the layers of an image over each other (Linux,
// Documentation/filesystems/overlayfs.rst).
package overlay

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

// dataMax is how long the kernel lets the options of a mount be: a page, with its
// end.
const dataMax = 4095

// Layers is what is mounted, and where. All are paths of folders.
type Layers struct {
	Target      string
	Flags       uintptr  // of mount(2)
	Lower       []string // the top one first
	Upper, Work string   // what is written; empty: nothing can be, and Lower has two at least
}

// Mount mounts them.
func Mount(l Layers) error {
	if len(l.options(l.Lower)) <= dataMax {
		return l.mount(l.Lower)
	}
	// Many layers: from a thread that stands in their common folder the paths are
	// short.
	base, short := common(l.Lower)
	if len(l.options(short)) > dataMax {
		return kind.New(kind.Invalid, "an image of %d layers has too many", len(l.Lower))
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Chdir(base)
		}
		if err == nil {
			err = l.mount(short)
		}
		done <- err
	}()
	return <-done
}

func (l Layers) options(lower []string) string {
	s := "index=off,"
	if l.Upper != "" {
		s += "workdir=" + l.Work + ",upperdir=" + l.Upper + ","
	}
	return s + "lowerdir=" + strings.Join(lower, ":")
}

func (l Layers) mount(lower []string) error {
	if err := unix.Mount("overlay", l.Target, "overlay", l.Flags, l.options(lower)); err != nil {
		return fmt.Errorf("mounting %d layers at %s: %w", len(lower), l.Target, err)
	}
	return nil
}

// common returns the folder that holds all paths, and the paths within it.
func common(paths []string) (base string, short []string) {
	base = filepath.Dir(paths[0])
	for _, p := range paths[1:] {
		for !strings.HasPrefix(p, base+"/") {
			base = filepath.Dir(base)
		}
	}
	for _, p := range paths {
		short = append(short, strings.TrimPrefix(p, base+"/"))
	}
	return base, short
}
