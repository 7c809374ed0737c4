package cri

import (
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/runtime"
)

// sandboxSecurity is the context of the sandbox's own process, and of what the
// runtime sets up before any container is known.
func (r *Runtime) sandboxSecurity(cfg *runtime.SandboxConfig) *criv1.LinuxSandboxSecurityContext {
	out := &criv1.LinuxSandboxSecurityContext{
		NamespaceOptions: namespaces(cfg),
		Privileged:       cfg.Privileged,
		Seccomp:          &criv1.SecurityProfile{ProfileType: criv1.SecurityProfile_Unconfined},
	}
	if r.cfg.SeccompDefault {
		out.Seccomp.ProfileType = criv1.SecurityProfile_RuntimeDefault
	}
	sc := cfg.Security
	if sc == nil {
		return out
	}
	if sc.SeccompProfile != nil {
		out.Seccomp = r.seccomp(sc.SeccompProfile)
	}
	out.SelinuxOptions = selinux(sc.SELinuxOptions)
	out.RunAsUser = int64Value(sc.RunAsUser)
	if sc.RunAsUser != nil { // CRI refuses a group without a user
		out.RunAsGroup = int64Value(sc.RunAsGroup)
	}
	out.SupplementalGroups = runtime.Groups(cfg, nil)
	out.SupplementalGroupsPolicy = groupsPolicy(sc)
	return out
}

func (r *Runtime) containerSecurity(sandbox *runtime.SandboxConfig, cfg *runtime.ContainerConfig) *criv1.LinuxContainerSecurityContext {
	sc := cfg.Security
	if sc == nil {
		sc = &corev1.SecurityContext{}
	}
	out := &criv1.LinuxContainerSecurityContext{
		NamespaceOptions:         namespaces(sandbox),
		Privileged:               deref(sc.Privileged),
		ReadonlyRootfs:           deref(sc.ReadOnlyRootFilesystem),
		NoNewPrivs:               sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		Capabilities:             capabilities(sc.Capabilities),
		SelinuxOptions:           selinux(sc.SELinuxOptions),
		Seccomp:                  r.seccomp(sc.SeccompProfile),
		Apparmor:                 apparmor(sc.AppArmorProfile),
		RunAsUser:                int64Value(cfg.RunAsUser),
		RunAsGroup:               int64Value(cfg.RunAsGroup),
		SupplementalGroups:       runtime.Groups(sandbox, cfg.SupplementalGroups),
		SupplementalGroupsPolicy: groupsPolicy(sandbox.Security),
	}
	if cfg.TargetID != "" && out.NamespaceOptions.Pid == criv1.NamespaceMode_CONTAINER {
		out.NamespaceOptions.Pid, out.NamespaceOptions.TargetId = criv1.NamespaceMode_TARGET, cfg.TargetID
	}
	if cfg.RunAsUser == nil {
		out.RunAsUsername = cfg.RunAsUserName
	}
	if cfg.MaskedPaths && !out.Privileged {
		out.MaskedPaths, out.ReadonlyPaths = runtime.HiddenPaths()
	}
	if out.Privileged {
		out.Seccomp = &criv1.SecurityProfile{ProfileType: criv1.SecurityProfile_Unconfined}
	}
	return out
}

func namespaces(cfg *runtime.SandboxConfig) *criv1.NamespaceOption {
	out := &criv1.NamespaceOption{
		Network: criv1.NamespaceMode_POD,
		Pid:     criv1.NamespaceMode_CONTAINER,
		Ipc:     criv1.NamespaceMode_POD,
	}
	if cfg.HostNetwork {
		out.Network = criv1.NamespaceMode_NODE
	}
	if cfg.HostIPC {
		out.Ipc = criv1.NamespaceMode_NODE
	}
	switch {
	case cfg.HostPID:
		out.Pid = criv1.NamespaceMode_NODE
	case cfg.ShareProcesses:
		out.Pid = criv1.NamespaceMode_POD
	}
	return out
}

func (r *Runtime) seccomp(p *corev1.SeccompProfile) *criv1.SecurityProfile {
	switch {
	case p == nil && r.cfg.SeccompDefault, p != nil && p.Type == corev1.SeccompProfileTypeRuntimeDefault:
		return &criv1.SecurityProfile{ProfileType: criv1.SecurityProfile_RuntimeDefault}
	case p != nil && p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil:
		return &criv1.SecurityProfile{
			ProfileType:  criv1.SecurityProfile_Localhost,
			LocalhostRef: filepath.Join(r.cfg.SeccompRoot, filepath.Join("/", *p.LocalhostProfile)), // never above the root
		}
	}
	return &criv1.SecurityProfile{ProfileType: criv1.SecurityProfile_Unconfined}
}

// apparmor returns nil where nothing is asked for: the runtime decides.
func apparmor(p *corev1.AppArmorProfile) *criv1.SecurityProfile {
	if p == nil {
		return nil
	}
	switch p.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		return &criv1.SecurityProfile{ProfileType: criv1.SecurityProfile_Unconfined}
	case corev1.AppArmorProfileTypeLocalhost:
		return &criv1.SecurityProfile{ProfileType: criv1.SecurityProfile_Localhost, LocalhostRef: deref(p.LocalhostProfile)}
	}
	return &criv1.SecurityProfile{ProfileType: criv1.SecurityProfile_RuntimeDefault}
}

func selinux(o *corev1.SELinuxOptions) *criv1.SELinuxOption {
	if o == nil {
		return nil
	}
	return &criv1.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

func capabilities(c *corev1.Capabilities) *criv1.Capability {
	if c == nil {
		return nil
	}
	out := &criv1.Capability{}
	for _, a := range c.Add {
		out.AddCapabilities = append(out.AddCapabilities, string(a))
	}
	for _, d := range c.Drop {
		out.DropCapabilities = append(out.DropCapabilities, string(d))
	}
	return out
}

func groupsPolicy(sc *corev1.PodSecurityContext) criv1.SupplementalGroupsPolicy {
	if sc != nil && deref(sc.SupplementalGroupsPolicy) == corev1.SupplementalGroupsPolicyStrict {
		return criv1.SupplementalGroupsPolicy_Strict
	}
	return criv1.SupplementalGroupsPolicy_Merge
}

func int64Value(v *int64) *criv1.Int64Value {
	if v == nil {
		return nil
	}
	return &criv1.Int64Value{Value: *v}
}

// deref returns what p points to, the zero value for nil.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
