package marathon

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/object"
	"trireme/internal/object/sandbox"
)

// ContainerName is the name of the one container of an app's instance.
const ContainerName = "task"

// defaultGrace is how long an instance has to end, in seconds (Mesos, kill policy).
const defaultGrace = 3

// Template returns the pod of an instance, with nothing but labels, annotations and spec.
// An error is a Problems: what a pod cannot be.
func (d *Definition) Template() (*corev1.PodTemplateSpec, error) {
	b := builder{d: d}
	b.pod.Labels = map[string]string{AppLabel: Name(d.ID), GenerationLabel: d.Generation()}
	b.pod.Annotations = map[string]string{VersionAnnotation: d.Version}
	if d.Pod != nil {
		b.podOf()
		return b.done()
	}
	b.container.Name = ContainerName
	for _, part := range []func(){b.words, b.parameters, b.resources, b.ports, b.networks, b.variables, b.volumes, b.health, b.place, b.end} {
		part()
	}
	if !b.options.Empty() {
		text, err := json.Marshal(b.options)
		if err != nil {
			return nil, err
		}
		b.pod.Annotations[object.ContainerAnnotation(ContainerName)] = string(text)
	}
	b.pod.Spec.Containers = []corev1.Container{b.container}
	return b.done()
}

func (b *builder) done() (*corev1.PodTemplateSpec, error) {
	if len(b.bad) > 0 {
		return nil, b.bad
	}
	return &corev1.PodTemplateSpec{ObjectMeta: b.pod.ObjectMeta, Spec: b.pod.Spec}, nil
}

// builder makes one pod; each of its parts says what it cannot do, by the field.
type builder struct {
	d         *Definition
	pod       corev1.Pod
	container corev1.Container
	options   object.ContainerOptions
	bad       Problems
}

// literal keeps Kubernetes from expanding $(NAME), which Mesos does not.
func literal(text string) string { return object.Literal(text) }

// words are what runs: in an image, or where there is none on the node's own root.
func (b *builder) words() {
	d := b.d
	b.container.TTY = or(d.TTY, false)
	switch *d.Executor {
	case "", "/cmd", "//cmd":
	default:
		b.bad.add("/executor", "%q: an app's instances run without an executor of their own here: leave it out", *d.Executor)
	}
	b.sandbox()
	if c := d.Container; c != nil && c.Docker != nil && c.Docker.Image != "" {
		b.image(c)
		return
	}
	cmd := sandbox.Command{Args: d.Args, User: or(d.User, "")}
	if d.Cmd != nil {
		cmd.Shell, cmd.Value = true, *d.Cmd
	} else if len(d.Args) > 0 {
		cmd.Value = d.Args[0]
	}
	sandbox.OnHostRoot(&b.pod, &b.container, "", cmd)
}

// sandbox gives the instance a folder of its own on its node, with what is fetched into it,
// where it needs one.
func (b *builder) sandbox() {
	d := b.d
	c := d.Container
	image := c != nil && c.Docker != nil && c.Docker.Image != ""
	relative := c != nil && slices.ContainsFunc(c.Volumes, func(v Volume) bool { return !strings.HasPrefix(v.ContainerPath, "/") })
	if image && len(d.Fetch) == 0 && !relative {
		return
	}
	var uris []sandbox.URI
	for _, f := range d.Fetch {
		uris = append(uris, sandbox.URI{Value: f.URI, Executable: *f.Executable, Extract: f.Extract, Cache: *f.Cache, OutputFile: or(f.DestPath, "")})
	}
	if err := sandbox.Set(&b.pod, sandbox.Place{Agent: "marathon", Framework: "marathon", Executor: Name(d.ID)}, uris); err != nil {
		b.bad.add("/fetch", "%v", err)
	}
	if image {
		b.container.VolumeMounts = append(b.container.VolumeMounts, corev1.VolumeMount{Name: sandbox.Volume, MountPath: sandbox.Path})
	}
}

func (b *builder) user(user string) {
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		b.security().RunAsUser = &uid
		return
	}
	b.options.User = user // its node looks names up in the image
}

func (b *builder) security() *corev1.SecurityContext {
	if b.container.SecurityContext == nil {
		b.container.SecurityContext = &corev1.SecurityContext{}
	}
	return b.container.SecurityContext
}

// image is what the container is made from, and what runs in it.
func (b *builder) image(c *Container) {
	d := b.d
	if d.Cmd != nil {
		b.container.Command = []string{"/bin/sh", "-c", literal(*d.Cmd)}
	}
	for _, arg := range d.Args {
		b.container.Args = append(b.container.Args, literal(arg))
	}
	if user := or(d.User, ""); user != "" {
		b.user(user)
	}
	b.container.Image, b.container.ImagePullPolicy = c.Docker.Image, corev1.PullIfNotPresent
	if c.Docker.ForcePullImage {
		b.container.ImagePullPolicy = corev1.PullAlways
	}
	if c.Docker.Privileged {
		b.security().Privileged = &c.Docker.Privileged
	}
	if p := c.Docker.PullConfig; p != nil {
		secret, ok := b.d.Secrets[p.Secret]
		if !ok {
			b.bad.add("/container/docker/pullConfig/secret", "secret %q is not one of the app's secrets", p.Secret)
		}
		name, _ := secret.place()
		b.pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: name}}
	}
	if l := c.LinuxInfo; l != nil {
		b.linux(l)
	}
}

func (b *builder) linux(l *LinuxInfo) {
	if s := l.Seccomp; s != nil {
		switch {
		case s.Unconfined:
			b.security().SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		case s.ProfileName != nil:
			b.security().SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: s.ProfileName}
		}
	}
	if i := l.IPCInfo; i != nil {
		if i.Mode != "" && i.Mode != "PRIVATE" {
			b.bad.add("/container/linuxInfo/ipcInfo/mode", "%q: an instance has its own IPC namespace here: leave it out, or write PRIVATE", i.Mode)
		}
		if i.ShmSize != nil {
			b.shm(*i.ShmSize << 20)
		}
	}
}

func (b *builder) shm(bytes int64) {
	b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, corev1.Volume{Name: "shm", VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: resource.NewQuantity(bytes, resource.BinarySI)},
	}})
	b.container.VolumeMounts = append(b.container.VolumeMounts, corev1.VolumeMount{Name: "shm", MountPath: "/dev/shm"})
}

// Mebibytes returns so many MB, as Mesos counts them.
func Mebibytes(n float64) resource.Quantity {
	return *resource.NewQuantity(int64(math.Ceil(n*(1<<20))), resource.BinarySI)
}

func cores(n float64) resource.Quantity {
	return *resource.NewMilliQuantity(int64(math.Ceil(n*1000)), resource.DecimalSI)
}

// gpu is the resource that a node's GPUs are.
const gpu corev1.ResourceName = "nvidia.com/gpu"

// resources maps what an instance has: CPUs are a share, memory is a limit too, as the
// containers of Mesos have it.
func (b *builder) resources() {
	d := b.d
	cpus, mem, disk := *d.CPUs, *d.Mem, *d.Disk
	list := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: cores(cpus), corev1.ResourceMemory: Mebibytes(mem)},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: Mebibytes(mem)},
	}
	if disk > 0 {
		list.Requests[corev1.ResourceEphemeralStorage] = Mebibytes(disk)
	}
	if n := *d.GPUs; n > 0 {
		q := *resource.NewQuantity(int64(n), resource.DecimalSI)
		list.Requests[gpu], list.Limits[gpu] = q, q
	}
	if l := d.ResourceLimits; l != nil {
		if l.CPUs != nil && !l.CPUs.Unlimited {
			list.Limits[corev1.ResourceCPU] = cores(l.CPUs.Value)
		}
		switch {
		case l.Mem == nil:
		case l.Mem.Unlimited:
			delete(list.Limits, corev1.ResourceMemory)
		default:
			list.Limits[corev1.ResourceMemory] = Mebibytes(l.Mem.Value)
		}
	}
	if x := d.ExecutorResources; x != nil {
		list.Requests[corev1.ResourceCPU] = cores(cpus + or(x.CPUs, 0))
		list.Requests[corev1.ResourceMemory] = Mebibytes(mem + or(x.Mem, 0))
	}
	b.container.Resources = list
}

// ports are those on the node; where the number is not said the scheduler chooses it.
func (b *builder) ports() {
	var dynamic []object.DynamicPort
	for i, p := range b.d.Ports() {
		switch {
		case !p.OnHost && p.Container == 0:
			b.bad.add(fmt.Sprintf("/container/portMappings/%d/containerPort", i), "is 0, which is the host port's number, and there is none: give one of them")
		case p.OnHost && p.Host == 0:
			dynamic = append(dynamic, object.DynamicPort{Container: ContainerName, Name: PortName(i), ContainerPort: p.Container, Protocols: p.Protocols})
		default:
			for n, protocol := range p.Protocols {
				port := corev1.ContainerPort{ContainerPort: p.Container, HostPort: p.Host, Protocol: protocol}
				if n == 0 {
					port.Name = PortName(i)
				}
				if port.ContainerPort == 0 {
					port.ContainerPort = p.Host
				}
				b.container.Ports = append(b.container.Ports, port)
			}
		}
	}
	if len(dynamic) == 0 {
		return
	}
	text, err := json.Marshal(dynamic)
	if err != nil {
		b.bad.add("/portDefinitions", "%v", err)
	}
	b.pod.Annotations[object.DynamicPortsAnnotation] = string(text)
}

// networksAnnotation is how a pod says which networks it is on (object/network).
const networksAnnotation = "k8s.v1.cni.cncf.io/networks"

func (b *builder) networks() {
	if !b.d.Bridged() {
		b.pod.Spec.HostNetwork = true
		b.pod.Spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
		return
	}
	var names []string
	for _, n := range b.d.Networks {
		if n.Mode == NamedNetwork && n.Name != nil {
			names = append(names, *n.Name)
		}
	}
	if len(names) > 0 {
		b.pod.Annotations[networksAnnotation] = strings.Join(names, ",")
	}
}

// annotation is a variable with the value of an annotation of the pod.
func annotation(key string) *corev1.EnvVarSource {
	return field("metadata.annotations['" + key + "']")
}

func field(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}

// instanceVariable is what the others are made of that differ by instance.
const instanceVariable = "TRIREME_POD_UID"

var notNames = regexp.MustCompile(`[^A-Z0-9_]`)

// variable returns a name, or a label, as part of a variable's name.
func variable(name string) string { return notNames.ReplaceAllString(strings.ToUpper(name), "_") }

// variables are those that every task of Marathon's has (§11), and the app's own, which win.
func (b *builder) variables() {
	d := b.d
	e := &env{}
	e.from(instanceVariable, field("metadata.uid"))
	e.from("HOST", field("status.hostIP"))
	e.text("MESOS_TASK_ID", flat(d.ID)+".instance-$("+instanceVariable+")._app.1")
	e.text("MESOS_SANDBOX", sandbox.Path)
	e.text("MARATHON_APP_ID", d.ID)
	e.from("MARATHON_APP_VERSION", annotation(VersionAnnotation))
	if d.Container != nil && d.Container.Docker != nil {
		e.text("MARATHON_APP_DOCKER_IMAGE", literal(d.Container.Docker.Image))
	}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	e.text("MARATHON_APP_RESOURCE_CPUS", number(*d.CPUs))
	e.text("MARATHON_APP_RESOURCE_MEM", number(*d.Mem))
	e.text("MARATHON_APP_RESOURCE_DISK", number(*d.Disk))
	e.text("MARATHON_APP_RESOURCE_GPUS", strconv.Itoa(int(*d.GPUs)))
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(d.Labels)) {
		if len(d.Labels[name]) <= labelMax {
			labels = append(labels, variable(name))
			e.text("MARATHON_APP_LABEL_"+variable(name), literal(d.Labels[name]))
		}
	}
	e.text("MARATHON_APP_LABELS", strings.Join(labels, " "))
	b.portVariables(e)
	for _, name := range slices.Sorted(maps.Keys(d.Env)) {
		b.own(e, name, d.Env[name])
	}
	b.container.Env = e.list
}

// labelMax is how long a label may be to be a variable too (Marathon,
// --task_labels_env_max_length).
const labelMax = 512

// own adds a variable of the app's own.
func (b *builder) own(e *env, name string, v EnvValue) {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		b.bad.add("/env/"+name, "is no name of a variable")
		return
	}
	if v.Secret == "" {
		e.text(name, literal(v.Value))
		return
	}
	secret, ok := b.d.Secrets[v.Secret]
	if !ok {
		b.bad.add("/env/"+name+"/secret", "secret %q is not one of the app's secrets", v.Secret)
		return
	}
	from, key := secret.place()
	e.from(name, &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: from}, Key: key}})
}

// place returns which Secret, and what of it, a secret's source means.
func (s Secret) place() (name, key string) {
	name, key, found := strings.Cut(strings.Trim(s.Source, "/"), "/")
	if !found {
		key = "value"
	}
	return name, key
}

// portVariables are PORT0, PORT, PORTS, PORT_NAME and PORT_NUMBER.
func (b *builder) portVariables(e *env) {
	var all []string
	dynamic := 0
	for i, p := range b.d.Ports() {
		name := "PORT" + strconv.Itoa(i)
		switch {
		case p.OnHost && p.Host == 0:
			e.from(name, annotation(object.PortAnnotation(dynamic)))
			dynamic++
		case p.Host != 0:
			e.text(name, strconv.Itoa(int(p.Host)))
		default:
			e.text(name, strconv.Itoa(int(p.Container)))
		}
		value := "$(" + name + ")"
		all = append(all, value)
		if i == 0 {
			e.text("PORT", value)
		}
		declared := p.Container
		if !b.d.Bridged() {
			declared = p.Service
		}
		if declared != 0 {
			e.text("PORT_"+strconv.Itoa(int(declared)), value)
		}
		if p.Name != "" {
			e.text("PORT_"+variable(p.Name), value)
		}
	}
	if len(all) > 0 {
		e.text("PORTS", strings.Join(all, ","))
	}
}

// env is a list of variables, each of which is there once: the last wins.
type env struct {
	list []corev1.EnvVar
}

func (e *env) put(v corev1.EnvVar) {
	e.list = slices.DeleteFunc(e.list, func(have corev1.EnvVar) bool { return have.Name == v.Name })
	e.list = append(e.list, v)
}

func (e *env) text(name, value string) { e.put(corev1.EnvVar{Name: name, Value: value}) }

func (e *env) from(name string, source *corev1.EnvVarSource) {
	e.put(corev1.EnvVar{Name: name, ValueFrom: source})
}

// end says how the instance ends, and what becomes of it where its node is away.
func (b *builder) end() {
	s := &b.pod.Spec
	grace := int64(math.Ceil(or(b.d.KillGraceSeconds, defaultGrace)))
	s.TerminationGracePeriodSeconds = &grace
	s.RestartPolicy = corev1.RestartPolicyNever // an instance that ended is replaced by another
	s.EnableServiceLinks, s.AutomountServiceAccountToken = new(bool), new(bool)
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		t := corev1.Toleration{Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
		if u := b.d.Unreachable; !u.Disabled {
			seconds := u.ExpungeAfterSeconds
			t.TolerationSeconds = &seconds
		}
		s.Tolerations = append(s.Tolerations, t)
	}
}
