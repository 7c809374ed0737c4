package native

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/runtime"
)

// mounts are those of every container, the sandbox's files, and the volumes,
// outer ones first.
func (b *builder) mounts() ([]specs.Mount, error) {
	out := b.kernelMounts()
	taken := map[string]bool{}
	for _, m := range b.cfg.Mounts {
		taken[filepath.Clean(m.Path)] = true
	}
	for _, f := range []struct{ path, from, mode string }{
		{"/etc/hostname", b.r.dir.Sandbox(b.rec.Sandbox, "hostname"), "rw"},
		{"/etc/resolv.conf", b.r.dir.Sandbox(b.rec.Sandbox, "resolv.conf"), "rw"},
		{"/dev/shm", b.shm(), "rw"},
	} {
		if taken[f.path] {
			continue
		}
		if deref(b.security().ReadOnlyRootFilesystem) && f.path != "/dev/shm" {
			f.mode = "ro"
		}
		out = append(out, specs.Mount{Destination: f.path, Type: "bind", Source: f.from, Options: []string{"rbind", "rprivate", f.mode}})
	}
	for _, m := range b.cfg.Mounts {
		one, err := volume(m)
		if err != nil {
			return nil, err
		}
		// A volume at the place of one of ours replaces it.
		out = slices.DeleteFunc(out, func(o specs.Mount) bool { return o.Destination == one.Destination })
		out = append(out, one)
	}
	if b.cfg.Init {
		out = append(out, b.initMount())
	}
	slices.SortStableFunc(out, func(x, y specs.Mount) int {
		return strings.Count(filepath.Clean(x.Destination), "/") - strings.Count(filepath.Clean(y.Destination), "/")
	})
	return out, nil
}

func (b *builder) shm() string {
	if b.sandbox.HostIPC {
		return "/dev/shm"
	}
	return b.r.dir.Sandbox(b.rec.Sandbox, "shm")
}

func (b *builder) kernelMounts() []specs.Mount {
	access := "ro"
	if b.privileged() {
		access = "rw"
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
}

func volume(m runtime.Mount) (specs.Mount, error) {
	source := m.HostPath
	if _, err := os.Stat(source); os.IsNotExist(err) {
		if err := os.MkdirAll(source, 0o755); err != nil {
			return specs.Mount{}, fmt.Errorf("making the mount source %s: %w", source, err)
		}
	}
	source, err := filepath.EvalSymlinks(source)
	if err != nil {
		return specs.Mount{}, fmt.Errorf("finding the mount source %s: %w", m.HostPath, err)
	}
	options := []string{"rbind", propagation(m.Propagation)}
	if m.ReadOnly {
		options = append(options, "ro")
	} else {
		options = append(options, "rw")
	}
	return specs.Mount{Destination: filepath.Clean(m.Path), Type: "bind", Source: source, Options: options}, nil
}

func propagation(mode corev1.MountPropagationMode) string {
	switch mode {
	case corev1.MountPropagationBidirectional:
		return "rshared"
	case corev1.MountPropagationHostToContainer:
		return "rslave"
	}
	return "rprivate"
}

// rootPropagation must let through what the widest of the mounts does.
func rootPropagation(mounts []runtime.Mount) string {
	widest := ""
	for _, m := range mounts {
		switch m.Propagation {
		case corev1.MountPropagationBidirectional:
			return "rshared"
		case corev1.MountPropagationHostToContainer:
			widest = "rslave"
		}
	}
	return widest
}
