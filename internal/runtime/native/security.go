package native

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/profiles/seccomp"
	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
)

// usualCapabilities are what a container has that asks for nothing: docker's and
// containerd's.
var usualCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// possible are the capabilities that a container of this node may have at all.
var possible = sync.OnceValues(func() ([]string, error) {
	mine, err := capability.NewPid2(0)
	if err == nil {
		err = mine.Load()
	}
	all, errKnown := capability.ListSupported()
	if err = firstOf(err, errKnown); err != nil {
		return nil, fmt.Errorf("reading this node's capabilities: %w", err)
	}
	var names []string
	for _, c := range all {
		if mine.Get(capability.BOUNDING, c) {
			names = append(names, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	return names, nil
})

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) capabilities() (*specs.LinuxCapabilities, error) {
	all, err := possible()
	if err != nil {
		return nil, err
	}
	have := slices.Clone(usualCapabilities)
	if c := b.security().Capabilities; c != nil {
		if slices.ContainsFunc(c.Drop, isAll) {
			have = nil
		}
		if slices.ContainsFunc(c.Add, isAll) {
			have = slices.Clone(all)
		}
		for _, name := range c.Add {
			if full := capabilityName(name); !isAll(name) && !slices.Contains(have, full) {
				have = append(have, full)
			}
		}
		for _, name := range c.Drop {
			have = slices.DeleteFunc(have, func(h string) bool { return h == capabilityName(name) })
		}
	}
	if b.privileged() {
		have = slices.Clone(all)
	}
	return &specs.LinuxCapabilities{Bounding: have, Effective: have, Permitted: have}, nil
}

func isAll(c corev1.Capability) bool { return strings.EqualFold(string(c), "ALL") }

func capabilityName(c corev1.Capability) string {
	return "CAP_" + strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_")
}

// seccomp is the profile, nil for none.
func (b *builder) seccomp(s *specs.Spec) (*specs.LinuxSeccomp, error) {
	if b.privileged() {
		return nil, nil
	}
	if b.cfg.Seccomp != nil {
		return b.ownSeccomp(s)
	}
	p := b.security().SeccompProfile
	if ps := b.sandbox.Security; p == nil && ps != nil {
		p = ps.SeccompProfile
	}
	switch {
	case p == nil && b.r.cfg.SeccompDefault, p != nil && p.Type == corev1.SeccompProfileTypeRuntimeDefault:
		profile, err := seccomp.GetDefaultProfile(s)
		if err != nil {
			return nil, fmt.Errorf("making the default seccomp profile: %w", err)
		}
		return profile, nil
	case p != nil && p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil:
		path := filepath.Join(b.r.cfg.SeccompRoot, filepath.Join("/", *p.LocalhostProfile)) // never above the root
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, kind.New(kind.Invalid, "cannot load seccomp profile %q: %w", path, err)
		}
		profile := &specs.LinuxSeccomp{}
		if err := json.Unmarshal(text, profile); err != nil {
			return nil, kind.New(kind.Invalid, "decoding seccomp profile %q: %w", path, err)
		}
		return profile, nil
	}
	return nil, nil
}

// devices are the container's device nodes and what its cgroup lets through:
// the usual ones are the OCI runtime's own doing.
func (b *builder) devices() ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	if b.privileged() {
		all, err := devicesBelow("/dev", "/dev")
		return all, []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}, err
	}
	rules := []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	var out []specs.LinuxDevice
	for _, d := range b.cfg.Devices {
		some, err := devicesBelow(d.HostPath, d.Path)
		if err != nil {
			return nil, nil, kind.New(kind.Invalid, "device %s: %w", d.HostPath, err)
		}
		for _, dev := range some {
			out = append(out, dev)
			access := d.Permissions
			if access == "" {
				access = "rwm"
			}
			rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: dev.Type, Major: &dev.Major, Minor: &dev.Minor, Access: access})
		}
	}
	return out, rules, nil
}

// notDevices are folders and names of /dev that a container has its own of.
var notDevices = []string{"pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"}

// devicesBelow returns the device at a path, or all in the folder, as they are
// to appear at the other path.
func devicesBelow(from, to string) ([]specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return nil, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK, unix.S_IFCHR:
		return []specs.LinuxDevice{device(&st, to)}, nil
	case unix.S_IFDIR:
	default:
		return nil, kind.New(kind.Invalid, "not a device node")
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil, err
	}
	var out []specs.LinuxDevice
	for _, e := range entries {
		if slices.Contains(notDevices, e.Name()) || e.Type()&os.ModeSymlink != 0 {
			continue
		}
		if !e.IsDir() && e.Type()&os.ModeDevice == 0 {
			continue
		}
		some, err := devicesBelow(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		if os.IsNotExist(err) {
			continue // it went away
		}
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}

func device(st *unix.Stat_t, path string) specs.LinuxDevice {
	mode := os.FileMode(st.Mode & 0o777)
	uid, gid, kind := st.Uid, st.Gid, "c"
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		kind = "b"
	}
	return specs.LinuxDevice{
		Path: path, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), FileMode: &mode, UID: &uid, GID: &gid,
	}
}

// oomScore is the score a container may have: without CAP_SYS_RESOURCE none
// below our own.
func oomScore(want int64) int {
	mine, err := capability.NewPid2(0)
	if err == nil && mine.Load() == nil && mine.Get(capability.EFFECTIVE, capability.CAP_SYS_RESOURCE) {
		return int(want)
	}
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return int(want)
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return int(want)
	}
	return max(int(want), own)
}
