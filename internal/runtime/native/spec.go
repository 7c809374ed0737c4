package native

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// specVersion is the OCI version that is written: nothing newer is used, and
// crun before 1.9 refuses to look at more.
const specVersion = "1.0.2"

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// builder makes the OCI configuration of one container; what containerd's CRI
// makes of the same request is the model.
type builder struct {
	r       *Runtime
	rec     *containerRecord
	sandbox *runtime.SandboxConfig
	cfg     *runtime.ContainerConfig
	image   *ocispec.ImageConfig
	root    string // mounted already: users are looked up in it
}

func (b *builder) security() *corev1.SecurityContext {
	if b.cfg.Security == nil {
		return &corev1.SecurityContext{}
	}
	return b.cfg.Security
}

func (b *builder) privileged() bool { return deref(b.security().Privileged) }

func (b *builder) spec() (*specs.Spec, error) {
	process, err := b.process()
	if err != nil {
		return nil, err
	}
	linux, err := b.linux()
	if err != nil {
		return nil, err
	}
	mounts, err := b.mounts()
	if err != nil {
		return nil, err
	}
	s := &specs.Spec{
		Version: specVersion, Process: process, Linux: linux, Mounts: mounts,
		Root:        &specs.Root{Path: b.root, Readonly: deref(b.security().ReadOnlyRootFilesystem)},
		Annotations: map[string]string{"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": b.rec.Sandbox},
	}
	s.Linux.RootfsPropagation = rootPropagation(b.cfg.Mounts)
	if s.Linux.Seccomp, err = b.seccomp(s); err != nil {
		return nil, err
	}
	return s, nil
}

func (b *builder) process() (*specs.Process, error) {
	args, err := b.args()
	if err != nil {
		return nil, err
	}
	user, err := b.user()
	if err != nil {
		return nil, err
	}
	caps, err := b.capabilities()
	if err != nil {
		return nil, err
	}
	score := oomScore(b.cfg.Resources.OOMScoreAdj)
	sc := b.security()
	return &specs.Process{
		Terminal: b.cfg.TTY, User: *user, Args: args, Env: b.env(), Cwd: cmp.Or(b.cfg.WorkingDir, b.image.WorkingDir, "/"),
		Capabilities: caps, OOMScoreAdj: &score, Rlimits: rlimits(b.cfg.Ulimits),
		NoNewPrivileges: sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
	}, nil
}

// args are the command: the container's own entrypoint drops the image's
// arguments (Kubernetes, "Define a Command and Arguments for a Container").
func (b *builder) args() ([]string, error) {
	command, args := b.cfg.Command, b.cfg.Args
	if len(command) == 0 {
		command = b.image.Entrypoint
		if len(args) == 0 {
			args = b.image.Cmd
		}
	}
	all := slices.Concat(command, args)
	if len(all) == 0 || all[0] == "" {
		return nil, kind.New(kind.Invalid, "no command specified")
	}
	if b.cfg.Init {
		all = append([]string{initPath, "--"}, all...)
	}
	return all, nil
}

// env is the image's environment under the container's.
func (b *builder) env() []string {
	all := []string{defaultPath, "HOSTNAME=" + hostname(b.sandbox)}
	if b.cfg.TTY {
		all = append(all, "TERM=xterm")
	}
	all = append(all, b.image.Env...)
	all = slices.DeleteFunc(all, func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains(b.cfg.Unset, name)
	})
	for _, e := range b.cfg.Env {
		all = append(all, e.Key+"="+e.Value)
	}
	last := map[string]int{}
	for i, e := range all {
		name, _, _ := strings.Cut(e, "=")
		last[name] = i
	}
	var out []string
	for i, e := range all {
		if name, _, _ := strings.Cut(e, "="); last[name] == i {
			out = append(out, e)
		}
	}
	return out
}

func (b *builder) linux() (*specs.Linux, error) {
	spaces, err := b.namespaces()
	if err != nil {
		return nil, err
	}
	l := &specs.Linux{Namespaces: spaces, Resources: resources(b.cfg.Resources)}
	parent := cmp.Or(b.sandbox.CgroupParent, "/trireme")
	l.CgroupsPath = filepath.Join("/", parent, b.rec.ID)
	if b.cfg.MaskedPaths && !b.privileged() {
		l.MaskedPaths, l.ReadonlyPaths = runtime.HiddenPaths()
	}
	if l.Devices, l.Resources.Devices, err = b.devices(); err != nil {
		return nil, err
	}
	return l, nil
}

func (b *builder) namespaces() ([]specs.LinuxNamespace, error) {
	spaces := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	kinds := map[string]specs.LinuxNamespaceType{"net": specs.NetworkNamespace, "ipc": specs.IPCNamespace, "uts": specs.UTSNamespace}
	names, _ := own(b.sandbox)
	for _, name := range names {
		spaces = append(spaces, specs.LinuxNamespace{Type: kinds[name], Path: b.r.namespace(b.rec.Sandbox, name)})
	}
	switch {
	case b.sandbox.HostPID:
	case b.sandbox.ShareProcesses:
		pid, err := b.r.pausePid(b.rec.Sandbox)
		if err != nil {
			return nil, err
		}
		spaces = append(spaces, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: "/proc/" + itoa(pid) + "/ns/pid"})
	case b.cfg.TargetID != "":
		pid, err := b.r.pidOf(b.cfg.TargetID)
		if err != nil {
			return nil, fmt.Errorf("looking for the target container: %w", err)
		}
		spaces = append(spaces, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: "/proc/" + itoa(pid) + "/ns/pid"})
	default:
		spaces = append(spaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if b.r.unified && !b.privileged() {
		spaces = append(spaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return spaces, nil
}

func resources(r runtime.Resources) *specs.LinuxResources {
	out := &specs.LinuxResources{Unified: r.Unified, CPU: &specs.LinuxCPU{Cpus: r.CPUs}}
	if r.CPUShares > 0 {
		shares := uint64(r.CPUShares)
		out.CPU.Shares = &shares
	}
	if r.CPUQuota != 0 {
		out.CPU.Quota = &r.CPUQuota
	}
	if r.CPUPeriod > 0 {
		period := uint64(r.CPUPeriod)
		out.CPU.Period = &period
	}
	if hugeCounted() { // asking a kernel that does not count them fails
		for _, size := range slices.Sorted(maps.Keys(r.HugePages)) {
			out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: size, Limit: uint64(r.HugePages[size])})
		}
	}
	if r.PIDsMax > 0 {
		out.Pids = &specs.LinuxPids{Limit: &r.PIDsMax}
	}
	if r.MemoryBytes > 0 {
		out.Memory = &specs.LinuxMemory{Limit: &r.MemoryBytes}
		if swapAccounted() {
			together := r.MemoryBytes + r.SwapBytes
			out.Memory.Swap = &together
		}
	}
	return out
}

// deref returns what p points to, the zero value for nil.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
