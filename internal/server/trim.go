package server

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trimAfter is when a process is expected to have started.
const trimAfter = 8 * time.Second

// trim gives back, once, the memory that only the start needed: the heap of
// building the API, and the pages of the binary that were read for it and for
// unpacking the bundle (40 MB). What is needed again is read again from the page
// cache.
func trim(ctx context.Context) error {
	select {
	case <-time.After(trimAfter):
	case <-ctx.Done():
		return ctx.Err()
	}
	debug.FreeOSMemory()
	return dropBinary()
}

// dropBinary lets go of the resident pages of the binary's read-only mappings
// (madvise(2), MADV_DONTNEED: a clean file page is read again at its next use).
func dropBinary() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || strings.Contains(fields[1], "w") || fields[5] != exe {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err != nil {
			return fmt.Errorf("reading /proc/self/maps: %w", err)
		}
		// Not unix.Madvise: the region is no Go slice.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return nil
}
