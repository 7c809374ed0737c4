package native

import (
	"fmt"
	"os"
	goruntime "runtime"
	"slices"

	"golang.org/x/sys/unix"

	"trireme/internal/runtime"
)

// namespaces are those that a sandbox holds, by their names in /proc/PID/ns.
var namespaces = []string{"net", "ipc", "uts"}

// namespace is where a namespace of a sandbox is held.
func (r *Runtime) namespace(id, name string) string { return r.dir.Sandbox(id, "ns", name) }

// own reports which namespaces a sandbox has for itself.
func own(cfg *runtime.SandboxConfig) (names []string, flags int) {
	if !cfg.HostNetwork { // the host's name belongs to the host's network, as in CRI
		names, flags = append(names, "net", "uts"), unix.CLONE_NEWNET|unix.CLONE_NEWUTS
	}
	if !cfg.HostIPC {
		names, flags = append(names, "ipc"), flags|unix.CLONE_NEWIPC
	}
	return names, flags
}

// namespacesHeld reports whether the sandbox's namespaces are still there: after
// a restart of the machine the paths are empty files.
func (r *Runtime) namespacesHeld(rec *sandboxRecord) bool {
	names, _ := own(&rec.Config)
	for _, name := range names {
		var fs unix.Statfs_t
		if unix.Statfs(r.namespace(rec.ID, name), &fs) != nil || fs.Type != unix.NSFS_MAGIC {
			return false
		}
	}
	return true
}

// unshare makes the sandbox's namespaces with what belongs in them, and holds
// them by bind mounts.
func (r *Runtime) unshare(id string, cfg *runtime.SandboxConfig) error {
	names, flags := own(cfg)
	if flags == 0 {
		return nil
	}
	for _, name := range names {
		if err := os.WriteFile(r.namespace(id, name), nil, 0o444); err != nil {
			return err
		}
	}
	done := make(chan error, 1)
	go func() {
		// The thread is in the new namespaces: it ends with this goroutine, since it
		// is never unlocked.
		goruntime.LockOSThread()
		done <- r.furnish(id, cfg, names, flags)
	}()
	return <-done
}

func (r *Runtime) furnish(id string, cfg *runtime.SandboxConfig, names []string, flags int) error {
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("making namespaces: %w", err)
	}
	if slices.Contains(names, "net") {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("setting the loopback device up: %w", err)
		}
	}
	if slices.Contains(names, "uts") {
		if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
			return fmt.Errorf("setting the host name %q: %w", cfg.Hostname, err)
		}
	}
	for _, name := range names {
		from := fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), name)
		if err := unix.Mount(from, r.namespace(id, name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("holding the %s namespace: %w", name, err)
		}
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
