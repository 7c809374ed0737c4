package server

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A process that was busy and is quiet again gives back what only its work needed:
// garbage that the collector would keep as room to grow into, the buffers that
// gRPC and etcd keep in pools (100 MB after 10,000 pods started), the pages of the
// binary that were read for the start (40 MB). What is needed again is made again.
const (
	trimEvery = 8 * time.Second
	tuneEvery = time.Second
	// startTrims are made whatever the process does: controllers of the API that
	// start late, one after the other, allocate less than counts as busy.
	startTrims = 3
	// quietBytes is the most that a quiet process allocates in trimEvery, or a
	// thirty-second of its heap where that is more: a thousand sessions are never silent.
	quietBytes = 8 << 20
	// The heap may grow between two collections by what roomSeconds allocate, at most by
	// roomBytes, but no less than by half and no more than to fourfold. Go's own rule, as
	// much again as is in use, makes a small busy process spend a fifth of its time
	// collecting, and is wasteful where little is allocated.
	roomBytes    = 192 << 20
	roomSeconds  = 2
	gcPercentMin = 50
	gcPercentMax = 300
	// busyBytes is what must have been allocated since the last time, or a quarter of
	// the heap where that is more, so that an idle process does not collect for nothing.
	busyBytes = 64 << 20
)

// trim gives memory back whenever the process has come to rest, and lets a small
// heap grow while it is busy, until ctx ends.
func trim(ctx context.Context, root string) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	tune := time.NewTicker(tuneEvery)
	defer tune.Stop()
	percent := gcPercent(roomBytes) // a start is busy
	defer debug.SetGCPercent(debug.SetGCPercent(percent))
	var last, trimmed, tuned uint64 // allocated so far: at the last tick, at the last trim, at the last tuning
	for starting := startTrims; ; {
		select {
		case <-tick.C:
		case <-tune.C:
			sum := allocated()
			now := gcPercent((sum - tuned) * uint64(roomSeconds*time.Second/tuneEvery))
			tuned = sum
			// To set it stops the process for a moment.
			if now < percent*3/4 || now > percent*4/3 {
				debug.SetGCPercent(now)
				percent = now
			}
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		now := allocated()
		live := measure("/gc/heap/live:bytes")
		quiet := now-last < max(quietBytes, live/32)
		rests := quiet && now-trimmed >= max(busyBytes, live/4)
		if starting > 0 || rests {
			starting = max(starting-1, 0)
			debug.FreeOSMemory()
			trimmed = allocated()
		}
		if err := dropPages(root); err != nil {
			return err
		}
		last = allocated()
	}
}

// allocated returns the bytes that the process has allocated since its start.
func allocated() uint64 { return measure("/gc/heap/allocs:bytes") }

// gcPercent returns how much the heap may grow, in percent of what is in use, to have room
// within the limits.
func gcPercent(room uint64) int {
	live := max(measure("/gc/heap/live:bytes"), 1)
	return int(min(max(gcPercentMin, min(room, roomBytes)*100/live), gcPercentMax))
}

func measure(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// dropPages lets go of the resident pages of read-only mappings of the binary and
// of the log's database under root (madvise(2), MADV_DONTNEED: a clean file page is
// mapped again at its next use, sixteen at a time). What is resident is then what was
// used since, in a busy process too.
func dropPages(root string) error {
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
		if len(fields) < 6 || strings.Contains(fields[1], "w") || (fields[5] != exe && !isLog(root, fields[5])) {
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

// isLog reports whether the file is the database of a log under root.
func isLog(root, file string) bool {
	return filepath.Base(file) == "db" && strings.HasPrefix(file, root+"/")
}
