package bare

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/network"
	ours "trireme/internal/object/swarm"
)

// What a pod says of its container, as docker's clients know it.
const (
	IDAnnotation      = "docker.trireme.dev/id"   // 64 digits; it outlives the pod's replacement by `docker start`
	NameAnnotation    = "docker.trireme.dev/name" // which may be changed
	RequestAnnotation = "docker.trireme.dev/request"
	// Label is on every such pod. Its value is Remove where the pod goes when it has
	// ended (--rm), else Keep.
	Label  = "docker.trireme.dev/container"
	Keep   = "keep"
	Remove = "remove"
	// Gate keeps a pod that was created from being started.
	Gate = "docker.trireme.dev/start"
)

// Labels of docker's that choose where the pod is.
const (
	NamespaceLabel = "trireme.dev/namespace" // else it is default
	NodeLabel      = "trireme.dev/node"      // by its name; else the scheduler chooses
)

// Request returns what the pod was asked for with; false: it is of another kind.
func Request(p *corev1.Pod) (*container.CreateRequest, bool) {
	text, ok := p.Annotations[RequestAnnotation]
	if !ok || p.Labels[Label] == "" {
		return nil, false
	}
	req := &container.CreateRequest{}
	if err := json.Unmarshal([]byte(text), req); err != nil {
		return nil, false
	}
	fill(req)
	return req, true
}

// fill makes the parts that a request may leave out.
func fill(req *container.CreateRequest) {
	if req.Config == nil {
		req.Config = &container.Config{}
	}
	if req.HostConfig == nil {
		req.HostConfig = &container.HostConfig{}
	}
}

// Container is one that is to be made.
type Container struct {
	ID, Name string
	*container.CreateRequest
	// Network returns the network of a name or id, for a pod of the namespace.
	Network func(target, namespace string) (object.Key, error)
	// Volume returns what is known of a volume with a name, nil where there is none yet.
	Volume func(object.Key) *ours.VolumeSpec
	// Exposed returns the ports that an image exposes, as "80/tcp".
	Exposed func(image string) ([]string, error)
}

// Pod returns the container's pod, not started: a gate holds it. Errors name the field.
func (c Container) Pod() (*corev1.Pod, error) {
	fill(c.CreateRequest)
	text, err := json.Marshal(c.CreateRequest)
	if err != nil {
		return nil, err
	}
	for _, r := range refusals(c.CreateRequest) {
		if r.asked {
			return nil, fmt.Errorf("%s: %s", r.field, r.remedy)
		}
	}
	t, err := c.template()
	if err != nil {
		return nil, err
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: ours.Place(c.Name, nil).Name, Namespace: Namespace(c.Config.Labels), Labels: map[string]string{Label: Keep}, Annotations: map[string]string{},
	}, Spec: t.Spec}
	maps.Copy(p.Annotations, c.HostConfig.Annotations)
	maps.Copy(p.Annotations, t.Annotations)
	p.Annotations[IDAnnotation], p.Annotations[NameAnnotation], p.Annotations[RequestAnnotation] = c.ID, c.Name, string(text)
	if names := c.names(); t.Annotations[network.Annotation] != "" && names != "" {
		p.Annotations[network.NamesAnnotation] = names
	}
	if v, ok := t.Labels[ours.VolumesLabel]; ok {
		p.Labels[ours.VolumesLabel] = v
	}
	if c.HostConfig.AutoRemove {
		p.Labels[Label] = Remove
	}
	p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: Gate}}
	p.Spec.Tolerations = nil // it is nobody's to replace at once
	if err := c.publish(p); err != nil {
		return nil, err
	}
	return p, own(&p.Spec, c.CreateRequest)
}

// template returns the container as a service's only task.
func (c Container) template() (*corev1.PodTemplateSpec, error) {
	s, err := service(c.Name, c.CreateRequest)
	if err != nil {
		return nil, err
	}
	var lost error
	task := ours.Task{ID: c.ID, Name: c.Name, Slot: "1", Node: ours.Node{ID: c.ID, Hostname: c.Name}, Volume: c.Volume, Stays: true}
	if c.Network != nil {
		task.Network = func(target string) (object.Key, bool) {
			key, err := c.Network(target, s.Namespace)
			lost = err
			return key, err == nil
		}
	}
	t, err := s.Template(task)
	if lost != nil {
		return nil, lost
	}
	if err != nil {
		return nil, unprefixed(err)
	}
	return t, nil
}

// names are those that the container is known by on its networks.
func (c Container) names() string {
	var all []string
	if !strings.Contains(c.Name, ".") {
		all = append(all, c.Name)
	}
	if c.NetworkingConfig != nil {
		for _, name := range slices.Sorted(maps.Keys(c.NetworkingConfig.EndpointsConfig)) {
			if e := c.NetworkingConfig.EndpointsConfig[name]; e != nil {
				all = append(all, e.Aliases...)
			}
		}
	}
	return strings.Join(all, ",")
}

// Namespace returns where the pod of a container with the labels is.
func Namespace(labels map[string]string) string {
	if ns := labels[NamespaceLabel]; ns != "" {
		return ns
	}
	return metav1.NamespaceDefault
}

// unprefixed takes off what a service's fields are called in front of those of a
// container.
func unprefixed(err error) error {
	text := strings.TrimPrefix(err.Error(), "TaskTemplate.")
	return fmt.Errorf("%s", strings.TrimPrefix(text, "ContainerSpec."))
}

// own sets what a task has not.
func own(spec *corev1.PodSpec, req *container.CreateRequest) error {
	h, c := req.HostConfig, &spec.Containers[0]
	c.StdinOnce = req.Config.StdinOnce
	if h.Runtime != "" && h.Runtime != "runc" {
		spec.RuntimeClassName = &h.Runtime
	}
	switch h.RestartPolicy.Name {
	case "", container.RestartPolicyDisabled:
		spec.RestartPolicy = corev1.RestartPolicyNever
	case container.RestartPolicyAlways, container.RestartPolicyUnlessStopped:
		spec.RestartPolicy = corev1.RestartPolicyAlways
	case container.RestartPolicyOnFailure:
		spec.RestartPolicy = corev1.RestartPolicyOnFailure
	default:
		return fmt.Errorf("HostConfig.RestartPolicy.Name: %q: it is no, always, unless-stopped or on-failure", h.RestartPolicy.Name)
	}
	return nil
}

// service returns the request as a service with one task.
func service(name string, req *container.CreateRequest) (*ours.Service, error) {
	c, h := req.Config, req.HostConfig
	spec := &swarm.ContainerSpec{
		Image: c.Image, Command: c.Entrypoint, Args: literals(c.Cmd), Env: literals(c.Env), Dir: c.WorkingDir, User: c.User, Hostname: literal(c.Hostname),
		TTY: c.Tty, OpenStdin: c.OpenStdin, ReadOnly: h.ReadonlyRootfs, StopSignal: c.StopSignal, Groups: h.GroupAdd, Healthcheck: c.Healthcheck,
		CapabilityAdd: h.CapAdd, CapabilityDrop: h.CapDrop, Sysctls: h.Sysctls, Ulimits: h.Ulimits, OomScoreAdj: int64(h.OomScoreAdj), Init: h.Init, Isolation: h.Isolation,
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" { // the image's is taken away
		spec.Command, spec.Args = c.Cmd, nil
	}
	if c.StopTimeout != nil {
		grace := seconds(*c.StopTimeout)
		spec.StopGracePeriod = &grace
	}
	if len(h.DNS)+len(h.DNSSearch)+len(h.DNSOptions) > 0 {
		spec.DNSConfig = &swarm.DNSConfig{Nameservers: h.DNS, Search: h.DNSSearch, Options: h.DNSOptions}
	}
	var err error
	if spec.Hosts, err = hosts(h.ExtraHosts); err != nil {
		return nil, err
	}
	if spec.Privileges, err = privileges(h.SecurityOpt); err != nil {
		return nil, err
	}
	if spec.Mounts, err = mounts(req); err != nil {
		return nil, err
	}
	s := &ours.Service{}
	s.Name, s.Namespace, s.Spec.Name = name, Namespace(c.Labels), name
	if s.Spec.Labels, err = extras(req); err != nil {
		return nil, err
	}
	task := &s.Spec.TaskTemplate
	task.ContainerSpec = spec
	if task.Networks, err = networks(req); err != nil {
		return nil, err
	}
	task.Resources = Resources(&h.Resources)
	if h.LogConfig.Type != "" {
		task.LogDriver = &swarm.Driver{Name: h.LogConfig.Type, Options: h.LogConfig.Config}
	}
	if node := c.Labels[NodeLabel]; node != "" {
		task.Placement = &swarm.Placement{Constraints: []string{"node.hostname==" + node}}
	}
	return s, nil
}

// literal keeps a text from being a template, which docker run knows not.
func literal(text string) string { return strings.ReplaceAll(text, "{{", `{{"{{"}}`) }

func literals(all []string) (out []string) {
	for _, text := range all {
		out = append(out, literal(text))
	}
	return out
}
