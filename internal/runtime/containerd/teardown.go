package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"trireme/internal/runtime/shim"
)

// containerGrace is how long containers may take to end by themselves.
const containerGrace = 5 * time.Second

// Teardown ends every container, shim and containerd below root, whoever started
// them, unmounts everything below root and removes the containers' cgroups.
// Images and containerd's metadata stay. It needs neither containerd nor our
// binaries, may be called again, and goes as far as it can: the error joins what
// did not work.
func Teardown(ctx context.Context, root string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("taking down containers: %w", err)
	}
	d := dirs(root)
	// containerd first: it would react to everything else.
	errs := []error{endDaemons(ctx, d, slog.New(slog.DiscardHandler))}
	containers, err := readContainers(d)
	errs = append(errs, err, endContainers(ctx, containers), endHelpers(ctx, d))
	// What was about to start may have started meanwhile.
	late, err := readContainers(d)
	errs = append(errs, err, endContainers(ctx, late))
	errs = append(errs, unmountBelow(root))
	for _, c := range append(containers, late...) {
		errs = append(errs, removeCgroups(c.cgroups))
	}
	for _, dir := range []string{d.state(), d.sockets(), d.native().RuntimeRoot()} {
		errs = append(errs, os.RemoveAll(dir))
	}
	errs = append(errs, removeSockets(d))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("taking down containers below %s: %w", root, err)
	}
	return nil
}

// container is one that ran, or was being made.
type container struct {
	pid     int      // of its first process; 0: it had none yet
	start   uint64   // field 22 of /proc/PID/stat
	cgroups []string // safe to kill in and to remove
}

// readContainers returns every container below the folder, of any containerd
// namespace: those that runc knows, and those that were half made or half
// removed, of which only the bundle tells.
func readContainers(d dirs) ([]container, error) {
	known, err := readAll(filepath.Join(d.runc(), "*", "*", "state.json"), func(state struct {
		Pid     int               `json:"init_process_pid"`
		Start   uint64            `json:"init_process_start"`
		Cgroups map[string]string `json:"cgroup_paths"` // by controller; "" in version 2
	}) container {
		return container{pid: state.Pid, start: state.Start, cgroups: safe(slices.Collect(maps.Values(state.Cgroups)))}
	})
	// A bundle that cannot be read was being written: nothing has run from it.
	bundled, _ := readAll(filepath.Join(d.bundles(), "*", "*", "config.json"), func(spec struct {
		Linux struct {
			CgroupsPath string `json:"cgroupsPath"`
		} `json:"linux"`
	}) container {
		return container{cgroups: safe(everyHierarchy(spec.Linux.CgroupsPath))}
	})
	own, ownErr := readNative(d.native())
	return slices.Concat(known, bundled, own), errors.Join(err, ownErr)
}

// readNative returns the containers of the runtime native: those that run, and
// those that were being started.
func readNative(d shim.Dir) ([]container, error) {
	boot := shim.BootID()
	started, err := readAll(d.Container("*", shim.StateFile), func(s shim.State) container {
		if s.Boot != boot {
			return container{}
		}
		return container{pid: s.Pid, start: s.Start}
	})
	recorded, errRecords := readAll(d.Container("*", shim.RecordFile), func(r shim.Record) container {
		return container{cgroups: safe(r.Cgroups)}
	})
	return append(started, recorded...), errors.Join(err, errRecords)
}

// readAll decodes every file that the pattern names. One that goes away
// meanwhile is left out.
func readAll[T any](pattern string, use func(T) container) ([]container, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("looking for containers: %w", err)
	}
	var out []container
	var errs []error
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var v T
		if err == nil {
			err = json.Unmarshal(b, &v)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("reading %s: %w", p, err))
			continue
		}
		out = append(out, use(v))
	}
	return out, errors.Join(errs...)
}

// endContainers asks the first processes to end, waits, and then kills all that
// is left in the containers' cgroups.
func endContainers(ctx context.Context, all []container) error {
	var first []process
	for _, c := range all {
		p, err := open(c.pid)
		if err != nil {
			continue // ended, or never was
		}
		if startTime(c.pid) != c.start {
			p.close()
			continue // the number is another's now
		}
		first = append(first, p)
	}
	errs := []error{end(ctx, first, containerGrace)}
	for _, c := range all {
		errs = append(errs, killCgroups(ctx, c.cgroups))
	}
	return errors.Join(errs...)
}

// endHelpers kills shims, and what a shim has in flight, until none is left: a
// shim may have started its runtime between being found and being killed.
func endHelpers(ctx context.Context, d dirs) error {
	ours := func(argv []string) bool {
		if len(argv) == 0 {
			return false
		}
		name := filepath.Base(argv[0])
		if !slices.Contains([]string{"runc", "crun", "trireme-shim"}, name) && !strings.HasPrefix(name, "containerd-shim") {
			return false
		}
		return slices.ContainsFunc(argv, func(a string) bool {
			return strings.HasPrefix(a, d.base()+"/") || a == string(d.native()) || strings.HasPrefix(a, string(d.native())+"/")
		})
	}
	for {
		left, err := find(ours)
		if err != nil || len(left) == 0 {
			return err
		}
		if err := end(ctx, left, 0); err != nil {
			return err
		}
	}
}

// unmountBelow unmounts everything below root, the last mounted first.
func unmountBelow(root string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("reading mounts: %w", err)
	}
	var errs []error
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, line := range slices.Backward(lines) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		path := unescape(fields[4])
		if !strings.HasPrefix(path, root+"/") {
			continue
		}
		// Detached: what still holds it open is ended, or not ours to wait for.
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// unescape undoes mountinfo's octal escapes.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// removeSockets removes what a new containerd would make anyway, so that nobody
// takes it for a running one.
func removeSockets(d dirs) error {
	_ = os.Remove(filepath.Dir(d.sockets())) // /run/trireme, if no other node uses it; never a folder that holds anything
	var errs []error
	for _, path := range []string{d.socket(), d.ttrpc(), d.native().Socket()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// deepestFirst orders paths so that a folder follows what lies in it.
func deepestFirst(paths []string) {
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(b, "/"), strings.Count(a, "/")), cmp.Compare(a, b))
	})
}
