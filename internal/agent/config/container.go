package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/runtime"
)

// ContainerInput is what a container is made from.
type ContainerInput struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	Attempt   uint32
	Image     *runtime.Image
	Objects   Objects
	// Mount returns where on the node the i-th volume mount of the container
	// lies; sub is its sub path with the variables filled in.
	Mount func(i int, sub string) (hostPath string, readOnly bool, err error)
	// Device returns the node's device behind the i-th volume device of the container.
	Device      func(i int) (hostPath string, readOnly bool, err error)
	HostsFile   string // mounted at /etc/hosts; empty: none
	MessageFile string // mounted where the container ends with a message
	LogPath     string
	Resources   runtime.Resources
	Annotations map[string]string
}

// Container returns the container with every choice made.
func (n *Node) Container(in ContainerInput) (*runtime.ContainerConfig, error) {
	c := in.Container
	options, err := object.OptionsOf(in.Pod, c.Name)
	if err != nil {
		return nil, failf("%w", err)
	}
	env, err := n.Env(in.Pod, c, in.Objects)
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(env))
	for _, e := range env {
		values[e.Key] = e.Value
	}
	lookup := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	cfg := &runtime.ContainerConfig{
		Name: c.Name, Attempt: in.Attempt, Image: in.Image.ID, ImageRef: c.Image, WorkingDir: c.WorkingDir, Env: env,
		LogPath: in.LogPath, Annotations: in.Annotations, Stdin: c.Stdin, StdinOnce: c.StdinOnce, TTY: c.TTY,
		Resources: in.Resources, Security: Security(in.Pod, c),
	}
	for _, s := range c.Command {
		cfg.Command = append(cfg.Command, Expand(s, lookup))
	}
	for _, s := range c.Args {
		cfg.Args = append(cfg.Args, Expand(s, lookup))
	}
	if cfg.Mounts, err = mounts(in, lookup); err != nil {
		return nil, err
	}
	passDevices(in.Pod, cfg, c)
	for i, d := range c.VolumeDevices {
		host, readOnly, err := in.Device(i)
		if err != nil {
			return nil, &Error{Reason: ReasonConfig, Err: err}
		}
		one := runtime.Device{HostPath: host, Path: d.DevicePath, Permissions: "rwm"}
		if readOnly {
			one.Permissions = "r"
		}
		cfg.Devices = append(cfg.Devices, one)
	}
	if err := user(in, cfg, options.User); err != nil {
		return nil, err
	}
	return cfg, apply(&options, c, cfg)
}

// passDevices makes devices of the mounts that the pod says are some (object.Devices).
func passDevices(pod *corev1.Pod, cfg *runtime.ContainerConfig, c *corev1.Container) {
	rights := object.Devices(pod)
	if len(rights) == 0 {
		return
	}
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		at := slices.IndexFunc(cfg.Mounts, func(one runtime.Mount) bool { return one.Path == m.MountPath })
		if may, ok := rights[m.Name]; ok && at >= 0 {
			cfg.Devices = append(cfg.Devices, runtime.Device{HostPath: cfg.Mounts[at].HostPath, Path: m.MountPath, Permissions: may})
			cfg.Mounts = slices.Delete(cfg.Mounts, at, at+1)
		}
	}
}

func mounts(in ContainerInput, lookup func(string) (string, bool)) ([]runtime.Mount, error) {
	c := in.Container
	var out []runtime.Mount
	taken := map[string]bool{}
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = Expand(m.SubPathExpr, lookup)
			if strings.Contains(sub, "$(") {
				return nil, failf("missing value for a variable in subPathExpr %q", m.SubPathExpr)
			}
		}
		host, readOnly, err := in.Mount(i, sub)
		if err != nil {
			return nil, &Error{Reason: ReasonConfig, Err: err}
		}
		one := runtime.Mount{HostPath: host, Path: m.MountPath, ReadOnly: readOnly || m.ReadOnly}
		if !strings.HasPrefix(one.Path, "/") {
			one.Path = "/" + one.Path
		}
		if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
			one.Propagation = *m.MountPropagation
		}
		taken[one.Path] = true
		out = append(out, one)
	}
	if in.HostsFile != "" && !taken["/etc/hosts"] {
		out = append(out, runtime.Mount{HostPath: in.HostsFile, Path: "/etc/hosts"})
	}
	if in.MessageFile != "" {
		out = append(out, runtime.Mount{HostPath: in.MessageFile, Path: MessagePath(c)})
	}
	return out, nil
}

// MessagePath returns where the container leaves its last words.
func MessagePath(c *corev1.Container) string {
	if c.TerminationMessagePath == "" {
		return corev1.TerminationMessagePathDefault
	}
	return c.TerminationMessagePath
}

// Security returns the container's security context with the pod's filled in.
func Security(pod *corev1.Pod, c *corev1.Container) *corev1.SecurityContext {
	out := &corev1.SecurityContext{}
	if c.SecurityContext != nil {
		out = c.SecurityContext.DeepCopy()
	}
	p := pod.Spec.SecurityContext
	if p == nil {
		return out
	}
	if out.RunAsUser == nil {
		out.RunAsUser = p.RunAsUser
	}
	if out.RunAsGroup == nil {
		out.RunAsGroup = p.RunAsGroup
	}
	if out.RunAsNonRoot == nil {
		out.RunAsNonRoot = p.RunAsNonRoot
	}
	if out.SeccompProfile == nil {
		out.SeccompProfile = p.SeccompProfile
	}
	if out.SELinuxOptions == nil {
		out.SELinuxOptions = p.SELinuxOptions
	}
	if out.AppArmorProfile == nil {
		out.AppArmorProfile = p.AppArmorProfile
	}
	return out
}

// user resolves who the container runs as, and refuses root where it must not.
func user(in ContainerInput, cfg *runtime.ContainerConfig, option string) error {
	sc := cfg.Security
	cfg.MaskedPaths = sc.ProcMount == nil || *sc.ProcMount != corev1.UnmaskedProcMount
	cfg.RunAsUser, cfg.RunAsGroup = sc.RunAsUser, sc.RunAsGroup
	if option != "" && (sc.RunAsUser != nil || sc.RunAsGroup != nil) {
		return failf("annotation %s: user %q: the pod's securityContext says another: give one of the two", object.ContainerAnnotation(cfg.Name), option)
	}
	name, _, _ := strings.Cut(cmp.Or(option, in.Image.User), ":")
	id, err := strconv.ParseInt(name, 10, 64)
	numeric := err == nil
	if option != "" {
		cfg.RunAsUserName = option
	} else if cfg.RunAsUser == nil && numeric {
		cfg.RunAsUser = &id
	} else if cfg.RunAsUser == nil {
		cfg.RunAsUserName = name
	}
	if !isTrue(sc.RunAsNonRoot) {
		return nil
	}
	who := object.KeyOf(in.Pod)
	switch {
	case sc.RunAsUser != nil && *sc.RunAsUser == 0:
		return failf("container's runAsUser breaks non-root policy (pod: %q, container: %s)", who, cfg.Name)
	case sc.RunAsUser != nil:
		return nil
	case numeric && id == 0, name == "":
		return failf("container has runAsNonRoot and image will run as root (pod: %q, container: %s)", who, cfg.Name)
	case !numeric:
		return failf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root (pod: %q, container: %s)", name, who, cfg.Name)
	}
	return nil
}
