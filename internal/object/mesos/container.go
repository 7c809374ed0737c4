package mesos

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/sandbox"
)

// run makes the container execute the command on its image, or on the node's own root where
// it has none. dir is its folder in the sandbox.
func (b *builder) run(c *corev1.Container, cmd *mesosv1.CommandInfo, in *mesosv1.ContainerInfo, dir string) error {
	if err := b.environment(c, cmd); err != nil {
		return err
	}
	for i, u := range cmd.GetUris() {
		uri := sandbox.URI{Value: u.GetValue(), Executable: u.GetExecutable(), Extract: u.Extract, Cache: u.GetCache(), OutputFile: u.GetOutputFile()}
		if dir != "" {
			uri.Container = c.Name
		}
		if uri.Value == "" {
			return fmt.Errorf("command.uris[%d].value: is empty", i)
		}
		if out := uri.OutputFile; strings.HasPrefix(out, "/") || slices.Contains(strings.Split(out, "/"), "..") {
			return fmt.Errorf("command.uris[%d].output_file: %q is no path in the sandbox: give a relative one without ..", i, out)
		}
		b.uris = append(b.uris, uri)
	}
	image, err := b.image(c, in)
	if err != nil {
		return err
	}
	what := sandbox.Command{Shell: cmd != nil && cmd.GetShell(), Value: cmd.GetValue(), Args: cmd.GetArguments(), User: cmp.Or(cmd.GetUser(), b.launch.Framework.Spec.Info.M.GetUser())}
	switch {
	case what.Value == "" && what.Shell:
		return fmt.Errorf("command.value: is missing: give a command, or command.shell false for what the image does by itself")
	case what.Value == "" && !image:
		return fmt.Errorf("command.value: is missing: a task without an image needs a command")
	case !image:
		sandbox.OnHostRoot(&b.pod, c, dir, what)
		return b.settings(c, in)
	}
	sandbox.InImage(c, what)
	sandbox.Mount(c, dir)
	if cmd.GetUser() != "" { // a framework's user is one of the node, not of the image
		if err := b.options(c, func(o *object.ContainerOptions) { o.User = cmd.GetUser() }); err != nil {
			return err
		}
	}
	return b.settings(c, in)
}

// environment gives the container the variables that its command has, and those that every
// task finds.
func (b *builder) environment(c *corev1.Container, cmd *mesosv1.CommandInfo) error {
	for i, v := range cmd.GetEnvironment().GetVariables() {
		e := corev1.EnvVar{Name: v.GetName(), Value: object.Literal(v.GetValue())}
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") {
			return fmt.Errorf("command.environment.variables[%d].name: %q is no name of a variable", i, e.Name)
		}
		if v.GetType() == mesosv1.Environment_Variable_SECRET {
			switch s := v.GetSecret(); {
			case s.GetType() == mesosv1.Secret_VALUE:
				e.Value = object.Literal(string(s.GetValue().GetData()))
			case s.GetReference() != nil:
				e.Value, e.ValueFrom = "", &corev1.EnvVarSource{SecretKeyRef: secretKey(s.GetReference())}
			default:
				return fmt.Errorf("command.environment.variables[%d].secret: is missing", i)
			}
		}
		at := slices.IndexFunc(c.Env, func(have corev1.EnvVar) bool { return have.Name == e.Name })
		if at >= 0 {
			c.Env[at] = e // the last one holds
			continue
		}
		c.Env = append(c.Env, e)
	}
	l := b.launch
	set(c, "MESOS_FRAMEWORK_ID", l.Framework.Spec.ID)
	set(c, executorVariable, l.ExecutorID())
	set(c, agentVariable, l.Agent)
	set(c, "MESOS_ALLOCATION_ROLE", l.Role)
	return nil
}

// secretKey returns where the Secret of a reference has its value: under key, else under the
// key "value".
func secretKey(r *mesosv1.Secret_Reference) *corev1.SecretKeySelector {
	return &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: r.GetName()}, Key: cmp.Or(r.GetKey(), "value")}
}

// image gives the container its image; false: it has none.
func (b *builder) image(c *corev1.Container, in *mesosv1.ContainerInfo) (bool, error) {
	c.ImagePullPolicy = corev1.PullIfNotPresent
	switch {
	case in == nil:
		return false, nil
	case in.GetType() == mesosv1.ContainerInfo_DOCKER:
		d := in.GetDocker()
		if d.GetImage() == "" {
			return false, fmt.Errorf("container.docker.image: is missing")
		}
		if c.Image = d.GetImage(); d.GetForcePullImage() {
			c.ImagePullPolicy = corev1.PullAlways
		}
		return true, nil
	case in.GetDocker() != nil:
		return false, fmt.Errorf("container.docker: is for containers of type DOCKER: say container.mesos.image")
	}
	i := in.GetMesos().GetImage()
	if i == nil {
		return false, nil
	}
	if i.Cached != nil && !i.GetCached() {
		c.ImagePullPolicy = corev1.PullAlways
	}
	switch i.GetType() {
	case mesosv1.Image_DOCKER:
		c.Image = i.GetDocker().GetName()
		if secret := i.GetDocker().GetConfig(); secret != nil {
			if secret.GetReference() == nil {
				return false, fmt.Errorf("container.mesos.image.docker.config: only a reference to a Secret of type kubernetes.io/dockerconfigjson can be had")
			}
			b.pod.Spec.ImagePullSecrets = append(b.pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: secret.GetReference().GetName()})
		}
	case mesosv1.Image_APPC:
		c.Image = i.GetAppc().GetName()
		for _, label := range i.GetAppc().GetLabels().GetLabels() {
			if label.GetKey() == "version" {
				c.Image += ":" + label.GetValue()
			}
		}
	}
	if c.Image == "" {
		return false, fmt.Errorf("container.mesos.image: has no name")
	}
	return true, nil
}

// settings gives the container what else its ContainerInfo asks for.
func (b *builder) settings(c *corev1.Container, in *mesosv1.ContainerInfo) error {
	if in == nil {
		return nil
	}
	if in.GetDocker().GetPrivileged() {
		security(c).Privileged = new(true)
	}
	if h := in.GetHostname(); h != "" {
		if b.onHost {
			return fmt.Errorf("container.hostname: a container in its node's network has its node's name: choose another network")
		}
		b.pod.Spec.Hostname = h
	}
	c.TTY = in.GetTtyInfo() != nil
	c.Stdin = c.TTY
	for _, part := range []func(*corev1.Container, *mesosv1.ContainerInfo) error{b.parameters, b.linux, b.rlimits, b.volumes} {
		if err := part(c, in); err != nil {
			return fmt.Errorf("container.%w", err)
		}
	}
	return nil
}

// parameters are options of docker run.
func (b *builder) parameters(c *corev1.Container, in *mesosv1.ContainerInfo) error {
	for i, p := range in.GetDocker().GetParameters() {
		value := p.GetValue()
		switch key := p.GetKey(); key {
		case "cap-add":
			capabilities(c).Add = append(capabilities(c).Add, capability(value))
		case "cap-drop":
			capabilities(c).Drop = append(capabilities(c).Drop, capability(value))
		case "workdir":
			c.WorkingDir = value
		case "env":
			name, text, _ := strings.Cut(value, "=")
			set(c, name, text)
		case "user":
			if err := b.options(c, func(o *object.ContainerOptions) { o.User = value }); err != nil {
				return err
			}
		case "init":
			if err := b.options(c, func(o *object.ContainerOptions) { o.Init = value != "false" }); err != nil {
				return err
			}
		case "hostname":
			if b.onHost {
				return fmt.Errorf("docker.parameters[%d]: hostname: a container in its node's network has its node's name", i)
			}
			b.pod.Spec.Hostname = value
		case "entrypoint":
			c.Command = []string{object.Literal(value)}
		case "label", "name", "rm", "log-driver", "log-opt": // for who looks at docker's own list
		default:
			return fmt.Errorf("docker.parameters[%d].key: %q cannot be had: cap-add, cap-drop, workdir, env, user, init, hostname, entrypoint and label can", i, key)
		}
	}
	return nil
}

func capability(name string) corev1.Capability {
	return corev1.Capability(strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
}

// linux is what a LinuxInfo asks for.
func (b *builder) linux(c *corev1.Container, in *mesosv1.ContainerInfo) error {
	l := in.GetLinuxInfo()
	if l == nil {
		return nil
	}
	switch {
	case l.GetSeccomp().GetUnconfined():
		security(c).SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
	case l.GetSeccomp().GetProfileName() != "":
		name := l.GetSeccomp().GetProfileName()
		security(c).SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: &name}
	}
	switch {
	case l.GetIpcMode() == mesosv1.LinuxInfo_SHARE_PARENT:
		b.pod.Spec.HostIPC = true
	case l.ShmSize != nil:
		return fmt.Errorf("linux_info.shm_size: cannot be had: mount a volume at /dev/shm")
	}
	b.pod.Spec.HostPID = l.GetSharePidNamespace()
	bounding := l.GetBoundingCapabilities()
	if bounding == nil {
		bounding = l.GetCapabilityInfo()
	}
	if own := l.GetEffectiveCapabilities(); own != nil {
		capabilities(c).Drop = append(capabilities(c).Drop, "ALL")
		bounding = own
	}
	for _, one := range bounding.GetCapabilities() {
		capabilities(c).Add = append(capabilities(c).Add, capability(one.String()))
	}
	return nil
}

// rlimits are limits of the container's processes.
func (b *builder) rlimits(c *corev1.Container, in *mesosv1.ContainerInfo) error {
	var all []object.Ulimit
	for i, l := range in.GetRlimitInfo().GetRlimits() {
		u := object.Ulimit{Name: strings.ToLower(strings.TrimPrefix(l.GetType().String(), "RLMT_")), Soft: -1, Hard: -1}
		if (l.Hard == nil) != (l.Soft == nil) {
			return fmt.Errorf("rlimit_info.rlimits[%d]: give hard and soft, or none of both", i)
		}
		if l.Hard != nil {
			u.Soft, u.Hard = int64(l.GetSoft()), int64(l.GetHard())
		}
		all = append(all, u)
	}
	if len(all) == 0 {
		return nil
	}
	if err := (&object.ContainerOptions{Ulimits: all}).Check(); err != nil {
		return fmt.Errorf("rlimit_info: %w", err)
	}
	return b.options(c, func(o *object.ContainerOptions) { o.Ulimits = all })
}

// options changes what the container may be that Kubernetes has no field for.
func (b *builder) options(c *corev1.Container, change func(*object.ContainerOptions)) error {
	o, err := object.OptionsOf(&b.pod, c.Name)
	if err != nil {
		return err
	}
	change(&o)
	text, err := json.Marshal(o)
	b.pod.Annotations[object.ContainerAnnotation(c.Name)] = string(text)
	return err
}

func security(c *corev1.Container) *corev1.SecurityContext {
	if c.SecurityContext == nil {
		c.SecurityContext = &corev1.SecurityContext{}
	}
	return c.SecurityContext
}

func capabilities(c *corev1.Container) *corev1.Capabilities {
	s := security(c)
	if s.Capabilities == nil {
		s.Capabilities = &corev1.Capabilities{}
	}
	return s.Capabilities
}
