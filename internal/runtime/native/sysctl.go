package native

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// openPorts let every user of a pod listen on low ports and send pings, as CRI servers
// do; a kernel may lack them.
var openPorts = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}

// sysctls writes the pod's settings within the sandbox's namespaces, once its network is
// there: some belong to its links.
func (r *Runtime) sysctls(id string, cfg *runtime.SandboxConfig) error {
	names, _ := own(cfg)
	want := map[string]string{}
	for name, value := range cfg.Sysctls {
		path, space := sysctl(name)
		switch {
		case space == "":
			return kind.New(kind.Invalid, "sysctl %s belongs to the whole machine", name)
		case !slices.Contains(names, space):
			return kind.New(kind.Invalid, "sysctl %s: not allowed in the host's %s namespace", name, space)
		}
		want[path] = value
	}
	done := make(chan error, 1)
	go func() {
		// The thread ends with this goroutine, since it is never unlocked.
		goruntime.LockOSThread()
		done <- r.set(id, names, want)
	}()
	return <-done
}

// set writes settings on a thread that it moves to the sandbox's namespaces.
func (r *Runtime) set(id string, names []string, want map[string]string) error {
	for _, name := range names {
		ns, err := os.Open(r.namespace(id, name))
		if err != nil {
			return err
		}
		err = unix.Setns(int(ns.Fd()), 0)
		_ = ns.Close()
		if err != nil {
			return fmt.Errorf("joining the %s namespace: %w", name, err)
		}
	}
	if slices.Contains(names, "net") {
		for name, value := range openPorts {
			path, _ := sysctl(name)
			if _, given := want[path]; given {
				continue
			}
			if err := write(path, value); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if err := write(path, want[path]); err != nil {
			return &kind.Error{Kind: kind.Invalid, Err: err}
		}
	}
	return nil
}

func write(path, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0); err != nil {
		return fmt.Errorf("setting sysctl %s: %w", path, err)
	}
	return nil
}

// namespaced are the prefixes of settings that belong to a namespace of the
// sandbox (OCI runtime-spec, "Sysctl"; Kubernetes, "Using sysctls").
var namespaced = []struct{ prefix, space string }{
	{"net/", "net"}, {"kernel/shm", "ipc"}, {"kernel/msg", "ipc"}, {"kernel/sem", "ipc"}, {"fs/mqueue/", "ipc"},
}

// sysctl returns a setting's path below /proc/sys and the namespace that it belongs to;
// none: it is the machine's. What comes first of . and / stands between the parts of the
// name, the other for a dot within one: net.ipv4.conf.eth0/100.forwarding is
// net/ipv4/conf/eth0.100/forwarding (sysctl.d(5)).
func sysctl(name string) (path, space string) {
	path = name
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		path = strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	if !filepath.IsLocal(path) || filepath.Clean(path) != path {
		return path, ""
	}
	for _, n := range namespaced {
		if strings.HasPrefix(path, n.prefix) {
			return path, n.space
		}
	}
	return path, ""
}
