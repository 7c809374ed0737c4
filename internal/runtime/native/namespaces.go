package native

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
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
	if err := sysctls(cfg, names); err != nil {
		return err
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

// sysctls writes the pod's settings, and those that let every user of the pod
// listen on low ports and send pings, as CRI servers do, within the thread's
// namespaces.
func sysctls(cfg *runtime.SandboxConfig, names []string) error {
	if slices.Contains(names, "net") {
		for name, value := range map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"} {
			if _, given := cfg.Sysctls[name]; given {
				continue
			}
			if err := sysctl(name, value); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	for name, value := range cfg.Sysctls {
		space := "ipc"
		if strings.HasPrefix(strings.ReplaceAll(name, "/", "."), "net.") {
			space = "net"
		}
		if !slices.Contains(names, space) {
			return kind.New(kind.Invalid, "sysctl %s: not allowed in the host's %s namespace", name, space)
		}
		if err := sysctl(name, value); err != nil {
			return &kind.Error{Kind: kind.Invalid, Err: err}
		}
	}
	return nil
}

// namespaced are the prefixes of settings that belong to a namespace of the
// sandbox (OCI runtime-spec, "Sysctl"; Kubernetes, "Using sysctls").
var namespaced = []string{"net/", "kernel/shm", "kernel/msg", "kernel/sem", "fs/mqueue/"}

func sysctl(name, value string) error {
	path := name
	if !strings.Contains(name, "/") { // a slash says that dots are part of a name
		path = strings.ReplaceAll(name, ".", "/")
	}
	if !filepath.IsLocal(path) || !slices.ContainsFunc(namespaced, func(p string) bool { return strings.HasPrefix(path, p) }) {
		return kind.New(kind.Invalid, "sysctl %s belongs to the whole machine", name)
	}
	if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0); err != nil {
		return fmt.Errorf("setting sysctl %s: %w", name, err)
	}
	return nil
}
