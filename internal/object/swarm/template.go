package swarm

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"trireme/internal/object"
)

// defaultGrace is how long a task has to end (Docker Engine API, StopGracePeriod).
const defaultGrace = 10 * time.Second

// ContainerName is the name of the one container of a task.
const ContainerName = "task"

// Task says which of a service's tasks a pod is made for.
type Task struct {
	ID   string // of the task; templates show it
	Name string // as docker names it: web.1.ID
	Slot string // 1…, of a job 0…, or the id of the node of a global service
	Node Node   // of a global service; zero: not known before it is scheduled
	// Files are where the service's files (Refs) are for the task, in their order. None:
	// it is not known yet, and the pod is made without them.
	Files []Given
	// Network returns the network of a name or id of docker's; false: there is none. Nil:
	// networks are not looked up.
	Network func(target string) (object.Key, bool)
	// Stays says that a container which is not healthy any more is left as it is.
	Stays bool
	// Volume returns what is known of a volume with a name; nil: there is none yet. Nil:
	// of no volume anything is known.
	Volume func(object.Key) *VolumeSpec
}

// Node is what templates know of a task's node.
type Node struct{ ID, Hostname, OS, Architecture string }

// Template returns the pod of a task, with nothing but labels, annotations and spec. An
// error names the field that a pod cannot be, as the Docker Engine API has it, and the
// remedy.
func (s *Service) Template(t Task) (*corev1.PodTemplateSpec, error) {
	task := &s.Spec.TaskTemplate
	c := task.ContainerSpec
	if task.Runtime != "" && task.Runtime != swarm.RuntimeContainer || c == nil {
		return nil, fmt.Errorf("TaskTemplate.Runtime: only tasks that are containers can be run here; give a TaskTemplate.ContainerSpec")
	}
	b := builder{service: s, task: t, spec: c}
	b.pod.Labels = map[string]string{ServiceLabel: s.Name, SlotLabel: t.Slot, GenerationLabel: s.Generation()}
	if label, value := s.Current(); s.Job() {
		b.pod.Labels[label] = value
	}
	for _, part := range []func() error{b.words, b.networks, b.identity, b.health, b.resources, b.mounts, b.files, b.names, b.ports, b.beyond, b.extras, b.refuse} {
		if err := part(); err != nil {
			return nil, fmt.Errorf("TaskTemplate.%w", err)
		}
	}
	if err := b.place(); err != nil {
		return nil, fmt.Errorf("TaskTemplate.Placement.%w", err)
	}
	grace := defaultGrace
	if c.StopGracePeriod != nil {
		grace = *c.StopGracePeriod
	}
	seconds := ceilSeconds(grace)
	b.pod.Spec.TerminationGracePeriodSeconds = &seconds
	b.pod.Spec.RestartPolicy = corev1.RestartPolicyNever // a task that ended is replaced by another
	b.pod.Spec.Tolerations = []corev1.Toleration{lost(corev1.TaintNodeNotReady), lost(corev1.TaintNodeUnreachable), drained}
	b.pod.Spec.EnableServiceLinks, b.pod.Spec.AutomountServiceAccountToken = new(bool), new(bool)
	b.pod.Spec.Containers = []corev1.Container{b.container}
	if secret := s.Annotations[RegistryAuthAnnotation]; secret != "" {
		b.pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secret}}
	}
	return &b.pod, nil
}

// lost says that a task is replaced at once where its node has gone, as swarm does.
func lost(taint string) corev1.Toleration {
	return corev1.Toleration{Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64)}
}

// drained lets a task stay on a node that is drained until the loop ends it.
var drained = corev1.Toleration{Key: DrainTaint.Key, Operator: corev1.TolerationOpEqual, Value: DrainTaint.Value, Effect: DrainTaint.Effect}

// builder makes one pod; each of its parts says what it cannot do, by the field.
type builder struct {
	service   *Service
	task      Task
	spec      *swarm.ContainerSpec
	pod       corev1.PodTemplateSpec
	container corev1.Container
	options   object.ContainerOptions
}

// words are what runs, with which variables.
func (b *builder) words() error {
	c := b.spec
	if c.Image == "" {
		return fmt.Errorf("ContainerSpec.Image: a task needs an image")
	}
	b.container = corev1.Container{
		Name: ContainerName, Image: c.Image, ImagePullPolicy: corev1.PullIfNotPresent, Command: literals(c.Command), Args: literals(c.Args),
		WorkingDir: c.Dir, TTY: c.TTY, Stdin: c.OpenStdin,
	}
	for i, text := range c.Env {
		name, value, found := strings.Cut(text, "=")
		field := fmt.Sprintf("ContainerSpec.Env[%d]", i)
		if name == "" {
			return fmt.Errorf("%s: %q has no name: write NAME=VALUE", field, text)
		}
		if !found {
			b.options.Unset = append(b.options.Unset, name)
			continue
		}
		value, err := b.expand(field, value)
		if err != nil {
			return err
		}
		b.container.Env = append(b.container.Env, corev1.EnvVar{Name: name, Value: object.Literal(value)})
	}
	b.container.Env = late(b.container.Env)
	return nil
}

func literals(all []string) (out []string) {
	for _, text := range all {
		out = append(out, object.Literal(text))
	}
	return out
}

// identity is as whom the container runs, with which rights.
func (b *builder) identity() error {
	c := b.spec
	sc := &corev1.SecurityContext{}
	user, group, grouped := strings.Cut(c.User, ":")
	uid, err := strconv.ParseInt(user, 10, 64)
	gid, groupErr := strconv.ParseInt(group, 10, 64)
	switch {
	case c.User == "":
	case err != nil || grouped && groupErr != nil: // its node looks names up in the image
		b.options.User = c.User
	case grouped:
		sc.RunAsUser, sc.RunAsGroup = &uid, &gid
	default:
		sc.RunAsUser = &uid
	}
	pod := &corev1.PodSecurityContext{}
	for _, g := range c.Groups {
		if gid, err := strconv.ParseInt(g, 10, 64); err == nil {
			pod.SupplementalGroups = append(pod.SupplementalGroups, gid)
		} else {
			b.options.Groups = append(b.options.Groups, g)
		}
	}
	for _, name := range sortedKeys(c.Sysctls) {
		pod.Sysctls = append(pod.Sysctls, corev1.Sysctl{Name: name, Value: c.Sysctls[name]})
	}
	b.pod.Spec.SecurityContext = pod
	if c.ReadOnly {
		sc.ReadOnlyRootFilesystem = &c.ReadOnly
	}
	if len(c.CapabilityAdd)+len(c.CapabilityDrop) > 0 {
		sc.Capabilities = &corev1.Capabilities{Add: capabilities(c.CapabilityAdd), Drop: capabilities(c.CapabilityDrop)}
	}
	if p := c.Privileges; p != nil {
		if p.NoNewPrivileges {
			sc.AllowPrivilegeEscalation = new(bool)
		}
		if p.Seccomp != nil && p.Seccomp.Mode == swarm.SeccompModeUnconfined {
			sc.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		}
		if p.AppArmor != nil && p.AppArmor.Mode == swarm.AppArmorModeDisabled {
			sc.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		}
	}
	b.container.SecurityContext = sc
	return nil
}

// capabilities returns the names as Kubernetes writes them: without CAP_.
func capabilities(names []string) (out []corev1.Capability) {
	for _, n := range names {
		out = append(out, corev1.Capability(strings.TrimPrefix(strings.ToUpper(n), "CAP_")))
	}
	return out
}

// health maps a health check: a task runs once it is healthy, and one that is not any
// more ends and counts as failed.
func (b *builder) health() error {
	h := b.spec.Healthcheck
	if h == nil {
		h = &container.HealthConfig{}
	}
	if len(h.Test) == 0 { // the image's, which its node reads
		b.options.Health = &object.ImageHealth{
			End: !b.task.Stays, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries,
		}
		return nil
	}
	ready, live, err := Probes(h)
	if err != nil {
		return fmt.Errorf("ContainerSpec.%w", err)
	}
	b.container.ReadinessProbe = ready
	if !b.task.Stays {
		b.container.LivenessProbe = live
	}
	return nil
}

// Probes returns a health check as probes: one that says whether a container is healthy,
// and one that ends it when it is not any more; nil where there is none.
func Probes(h *container.HealthConfig) (ready, live *corev1.Probe, err error) {
	if len(h.Test) == 0 || h.Test[0] == "NONE" {
		return nil, nil, nil
	}
	command, err := healthCommand(h)
	if err != nil {
		return nil, nil, err
	}
	probe := corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: command}},
		PeriodSeconds: int32(ceilSeconds(or(h.Interval, 30*time.Second))), TimeoutSeconds: int32(ceilSeconds(or(h.Timeout, 30*time.Second))),
		FailureThreshold: int32(h.Retries),
	}
	if h.Retries <= 0 {
		probe.FailureThreshold = 3
	}
	ready, live = probe.DeepCopy(), &probe
	live.InitialDelaySeconds = int32(ceilSeconds(h.StartPeriod))
	if h.StartPeriod > 0 && h.StartInterval > 0 {
		ready.PeriodSeconds = int32(ceilSeconds(h.StartInterval))
	}
	return ready, live, nil
}

func healthCommand(h *container.HealthConfig) ([]string, error) {
	switch h.Test[0] {
	case "CMD":
		return h.Test[1:], nil
	case "CMD-SHELL":
		return append([]string{"/bin/sh", "-c"}, h.Test[1:]...), nil
	}
	return nil, fmt.Errorf("Healthcheck.Test: it begins with %q; it has to begin with CMD, CMD-SHELL or NONE", h.Test[0])
}

// resources maps limits and reservations. What is not reserved is requested as
// nothing, or Kubernetes would take the limit.
func (b *builder) resources() error {
	r := b.service.Spec.TaskTemplate.Resources
	if r == nil {
		return nil
	}
	list := corev1.ResourceRequirements{Limits: corev1.ResourceList{}, Requests: corev1.ResourceList{}}
	if l := r.Limits; l != nil {
		if l.NanoCPUs > 0 {
			list.Limits[corev1.ResourceCPU], list.Requests[corev1.ResourceCPU] = nanoCPUs(l.NanoCPUs), resource.Quantity{}
		}
		if l.MemoryBytes > 0 {
			list.Limits[corev1.ResourceMemory], list.Requests[corev1.ResourceMemory] = *resource.NewQuantity(l.MemoryBytes, resource.BinarySI), resource.Quantity{}
		}
	}
	if q := r.Reservations; q != nil {
		if err := generic(&list, q.GenericResources); err != nil {
			return err
		}
		if q.NanoCPUs > 0 {
			list.Requests[corev1.ResourceCPU] = nanoCPUs(q.NanoCPUs)
		}
		if q.MemoryBytes > 0 {
			list.Requests[corev1.ResourceMemory] = *resource.NewQuantity(q.MemoryBytes, resource.BinarySI)
		}
	}
	if r.SwapBytes != nil || r.MemorySwappiness != nil {
		return fmt.Errorf("Resources.SwapBytes and MemorySwappiness: how a task swaps is its node's affair here")
	}
	b.container.Resources = list
	return nil
}

func nanoCPUs(n int64) resource.Quantity {
	return *resource.NewMilliQuantity(int64(math.Ceil(float64(n)/1e6)), resource.DecimalSI)
}

func (b *builder) mounts() error {
	for i, m := range b.spec.Mounts {
		field := fmt.Sprintf("ContainerSpec.Mounts[%d]", i)
		source, err := b.source(field, m)
		if err != nil {
			return err
		}
		target, err := b.expand(field+".Target", m.Target)
		if err != nil {
			return err
		}
		v := corev1.Volume{Name: "mount-" + strconv.Itoa(i), VolumeSource: source}
		at := corev1.VolumeMount{Name: v.Name, MountPath: target, ReadOnly: m.ReadOnly}
		if m.VolumeOptions != nil {
			at.SubPath = m.VolumeOptions.Subpath
		}
		if m.BindOptions != nil {
			at.MountPropagation = propagation(m.BindOptions.Propagation)
		}
		b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, v)
		b.container.VolumeMounts = append(b.container.VolumeMounts, at)
	}
	return nil
}

// source returns what is mounted. A volume without a name lives as long as its task.
func (b *builder) source(field string, m mount.Mount) (v corev1.VolumeSource, err error) {
	path, err := b.expand(field+".Source", m.Source)
	if err != nil {
		return v, err
	}
	switch m.Type {
	case mount.TypeBind:
		kind := corev1.HostPathUnset
		if m.BindOptions != nil && m.BindOptions.CreateMountpoint {
			kind = corev1.HostPathDirectoryOrCreate
		}
		v.HostPath = &corev1.HostPathVolumeSource{Path: path, Type: &kind}
	case mount.TypeTmpfs:
		v.EmptyDir = &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
		if m.TmpfsOptions != nil && m.TmpfsOptions.SizeBytes > 0 {
			v.EmptyDir.SizeLimit = resource.NewQuantity(m.TmpfsOptions.SizeBytes, resource.BinarySI)
		}
	case mount.TypeImage:
		v.Image = &corev1.ImageVolumeSource{Reference: path, PullPolicy: corev1.PullIfNotPresent}
	case mount.TypeVolume, "":
		if path != "" {
			return b.named(field, path, m)
		}
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	default:
		return v, fmt.Errorf("%s.Type: %q cannot be mounted here: use bind, volume, tmpfs or image", field, m.Type)
	}
	return v, nil
}

func propagation(p mount.Propagation) *corev1.MountPropagationMode {
	mode := corev1.MountPropagationNone
	switch p {
	case mount.PropagationRSlave, mount.PropagationSlave:
		mode = corev1.MountPropagationHostToContainer
	case mount.PropagationRShared, mount.PropagationShared:
		mode = corev1.MountPropagationBidirectional
	}
	return &mode
}

// names are those that the task goes by and knows.
func (b *builder) names() error {
	c := b.spec
	hostname, err := b.expand("ContainerSpec.Hostname", c.Hostname)
	if err != nil {
		return err
	}
	b.pod.Spec.Hostname = strings.ToLower(hostname)
	for i, line := range c.Hosts {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return fmt.Errorf("ContainerSpec.Hosts[%d]: %q is not of the form \"ADDRESS NAME...\"", i, line)
		}
		b.pod.Spec.HostAliases = append(b.pod.Spec.HostAliases, corev1.HostAlias{IP: fields[0], Hostnames: fields[1:]})
	}
	d := c.DNSConfig
	if d == nil || len(d.Nameservers)+len(d.Search)+len(d.Options) == 0 {
		return nil
	}
	conf := &corev1.PodDNSConfig{Searches: d.Search}
	for _, a := range d.Nameservers {
		conf.Nameservers = append(conf.Nameservers, a.String())
	}
	for _, o := range d.Options {
		name, value, found := strings.Cut(o, ":")
		option := corev1.PodDNSConfigOption{Name: name}
		if found {
			option.Value = &value
		}
		conf.Options = append(conf.Options, option)
	}
	b.pod.Spec.DNSConfig = conf
	if len(conf.Nameservers) > 0 {
		b.pod.Spec.DNSPolicy = corev1.DNSNone
	}
	return nil
}

// ports are those that a task has on its node; the others are the services' beside it.
func (b *builder) ports() error {
	var chosen []object.DynamicPort
	for _, p := range ptr.Deref(b.service.Spec.EndpointSpec, swarm.EndpointSpec{}).Ports {
		if p.PublishMode != swarm.PortConfigPublishModeHost {
			continue
		}
		switch {
		case p.PublishedPort > 0:
		case b.pod.Spec.HostNetwork: // where it listens is the node's
			p.PublishedPort = p.TargetPort
		default:
			chosen = append(chosen, object.DynamicPort{ContainerPort: int32(p.TargetPort), Protocols: []corev1.Protocol{Protocol(p.Protocol)}})
			continue
		}
		b.container.Ports = append(b.container.Ports, corev1.ContainerPort{
			ContainerPort: int32(p.TargetPort), HostPort: int32(p.PublishedPort), Protocol: Protocol(p.Protocol),
		})
	}
	return b.choose(chosen)
}

// choose leaves ports of the node to be chosen.
func (b *builder) choose(ports []object.DynamicPort) error {
	if len(ports) == 0 {
		return nil
	}
	text, err := json.Marshal(ports)
	b.note(object.DynamicPortsAnnotation, string(text))
	return err
}

// Protocol returns a port's protocol in Kubernetes' words.
func Protocol(p network.IPProtocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return corev1.Protocol(strings.ToUpper(string(p)))
}

// refuse names what is asked for and not honoured.
func (b *builder) refuse() error {
	c, task := b.spec, &b.service.Spec.TaskTemplate
	for _, r := range []struct {
		asked  bool
		field  string
		remedy string
	}{
		{c.Isolation != "" && c.Isolation != "default", "ContainerSpec.Isolation", "it is for Windows"},
		{c.Privileges != nil && (c.Privileges.CredentialSpec != nil || c.Privileges.SELinuxContext != nil), "ContainerSpec.Privileges", "CredentialSpec and SELinuxContext are not served"},
		{task.LogDriver != nil && !slices.Contains([]string{"", "json-file", "local"}, task.LogDriver.Name), "LogDriver.Name", "logs are kept on the node: use json-file, and `docker service logs`"},
	} {
		if r.asked {
			return fmt.Errorf("%s: %s", r.field, r.remedy)
		}
	}
	return nil
}

// ceilSeconds counts whole seconds; what is less is rounded up.
func ceilSeconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

func or(d, other time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return other
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
