package swarm

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"trireme/internal/object"
)

// Labels of a service by which it asks for what docker's own words have none for
// (docs/docker.md, "More than docker's").
const (
	// DependsOnLabel names the services that a new task waits for: db=service_healthy,
	// with a ? after the name where the service need not be there.
	DependsOnLabel = "trireme.dev/depends-on"
	// InitLabel has ContainerSpecs, as a JSON array: what runs, one after the other,
	// before each task.
	InitLabel = "trireme.dev/init"
	// PostStartLabel and PreStopLabel have a command, as a JSON array of words, that
	// runs in a task's container when it has started, and before it is stopped.
	PostStartLabel = "trireme.dev/post-start"
	PreStopLabel   = "trireme.dev/pre-stop"
	// PrivilegedLabel is "true" where tasks have every right on their node.
	PrivilegedLabel = "trireme.dev/privileged"
	// DevicesLabel lists devices of nodes: /dev/fuse, /dev/sda:/dev/disk:r.
	DevicesLabel = "trireme.dev/devices"
	// ResourcesLabel lists what device plugins give: nvidia.com/gpu=1.
	ResourcesLabel = "trireme.dev/resources"
	// PIDLabel and IPCLabel are "host" where tasks share these with their node.
	PIDLabel = "trireme.dev/pid"
	IPCLabel = "trireme.dev/ipc"
	// PublishAddressLabel is the one address that published ports answer on.
	PublishAddressLabel = "trireme.dev/publish-address"
	// AddressLabel, with a network's name after it, is the address there of the one task.
	AddressLabel = "trireme.dev/ip."
	// KeepClientLabel is "true" where tasks see the clients' own addresses (docs/network.md).
	KeepClientLabel = "trireme.dev/keep-client-address"
)

// known are all labels of services that are ours; AddressLabel has a name after it.
var known = []string{
	AutoscaleLabel, DependsOnLabel, DevicesLabel, DrainLabel, FollowLabel, InitLabel, IPCLabel, KeepClientLabel, PIDLabel, PostStartLabel, PreStopLabel, PrivilegedLabel,
	PublishAddressLabel, object.RebalanceKey, ResourcesLabel, ScheduleLabel, AddressLabel,
}

// checkKnown refuses labels that look like ours and are not: they would do nothing.
func (s *Service) checkKnown() error {
	for _, name := range sortedKeys(s.Spec.Labels) {
		if strings.HasPrefix(name, "trireme.dev/") && !slices.Contains(known, name) && !strings.HasPrefix(name, AddressLabel) {
			return fmt.Errorf("Labels[%s]: nothing knows it: there are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// ofPods are the labels that change what a task's pod is.
var ofPods = []string{DependsOnLabel, InitLabel, PostStartLabel, PreStopLabel, PrivilegedLabel, DevicesLabel, ResourcesLabel, PIDLabel, IPCLabel}

// extras returns the service's labels that its tasks are made from; nil: it has none.
func (s *Service) extras() map[string]string {
	var out map[string]string
	for name, v := range s.Spec.Labels {
		if slices.Contains(ofPods, name) || strings.HasPrefix(name, AddressLabel) {
			if out == nil {
				out = map[string]string{}
			}
			out[name] = v
		}
	}
	return out
}

// checkPublished returns what is wrong with how ports are to be published.
func (s *Service) checkPublished() error {
	if a := s.Spec.Labels[PublishAddressLabel]; a != "" {
		if _, err := netip.ParseAddr(a); err != nil {
			return fmt.Errorf("Labels[%s]: %q is no address: it is one of a node's, as 192.0.2.1", PublishAddressLabel, a)
		}
	}
	if v, given := s.Spec.Labels[KeepClientLabel]; given && v != "true" && v != "false" {
		return fmt.Errorf("Labels[%s]: %q: it is true or false", KeepClientLabel, v)
	}
	return nil
}

// Conditions that a task can wait for (Compose Specification, depends_on).
const (
	ServiceStarted   = "service_started"
	ServiceHealthy   = "service_healthy"
	ServiceCompleted = "service_completed_successfully"
)

// Dependency is a service that tasks wait for.
type Dependency struct {
	Service   string // its name in the same stack
	Condition string
	Optional  bool // it need not be there
}

// GatePrefix is before the name of what a task waits for, as a scheduling gate.
const GatePrefix = "depends-on.trireme.dev/"

// DependsOn returns what the service's tasks wait for, in the order of names.
func (s *Service) DependsOn() (all []Dependency, err error) {
	for _, part := range split(s.Spec.Labels[DependsOnLabel]) {
		name, condition, _ := strings.Cut(part, "=")
		d := Dependency{Condition: condition}
		d.Service, d.Optional = strings.CutSuffix(name, "?")
		if d.Condition == "" {
			d.Condition = ServiceStarted
		}
		if !slices.Contains([]string{ServiceStarted, ServiceHealthy, ServiceCompleted}, d.Condition) || !nameForm.MatchString(d.Service) || len(d.Service) > validation.LabelValueMaxLength {
			return nil, fmt.Errorf("Labels[%s]: %q is not of the form SERVICE=CONDITION, where the condition is %s, %s or %s", DependsOnLabel, part, ServiceStarted, ServiceHealthy, ServiceCompleted)
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Dependency) int { return strings.Compare(a.Service, b.Service) })
	return all, nil
}

// split returns the parts of a list that is written with commas.
func split(list string) (out []string) {
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// extras maps the service's own labels onto the pod.
func (b *builder) extras() error {
	labels := b.service.Spec.Labels
	depends, err := b.service.DependsOn()
	if err != nil {
		return err
	}
	for _, d := range depends {
		b.pod.Spec.SchedulingGates = append(b.pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: GatePrefix + d.Service})
	}
	for _, flag := range []struct {
		label, value string
		set          func()
	}{
		{PrivilegedLabel, "true", func() { b.container.SecurityContext.Privileged = new(true) }},
		{PIDLabel, "host", func() { b.pod.Spec.HostPID = true }},
		{IPCLabel, "host", func() { b.pod.Spec.HostIPC = true }},
	} {
		switch v, given := labels[flag.label]; {
		case given && v == flag.value:
			flag.set()
		case given && v != "" && v != "false":
			return fmt.Errorf("Labels[%s]: %q: it is %s, or is left away", flag.label, v, flag.value)
		}
	}
	for _, part := range []func(map[string]string) error{b.hooks, b.inits, b.devices, b.extended} {
		if err := part(labels); err != nil {
			return err
		}
	}
	return nil
}

// hooks are the commands at a container's beginning and end.
func (b *builder) hooks(labels map[string]string) error {
	handler := func(label string) (*corev1.LifecycleHandler, error) {
		text, given := labels[label]
		if !given {
			return nil, nil
		}
		var command []string
		if err := json.Unmarshal([]byte(text), &command); err != nil || len(command) == 0 {
			return nil, fmt.Errorf(`Labels[%s]: %q is no command: write its words as a JSON array, as ["sh", "-c", "…"]`, label, text)
		}
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: command}}, nil
	}
	start, err := handler(PostStartLabel)
	if err != nil {
		return err
	}
	stop, err := handler(PreStopLabel)
	if err != nil {
		return err
	}
	if start != nil || stop != nil {
		if b.container.Lifecycle == nil {
			b.container.Lifecycle = &corev1.Lifecycle{}
		}
		b.container.Lifecycle.PostStart, b.container.Lifecycle.PreStop = start, stop
	}
	return nil
}

// inits are the containers that run before the task's own: each is made as a task of a
// service of its own would be.
func (b *builder) inits(labels map[string]string) error {
	text, given := labels[InitLabel]
	if !given {
		return nil
	}
	var specs []swarm.ContainerSpec
	if err := json.Unmarshal([]byte(text), &specs); err != nil {
		return fmt.Errorf("Labels[%s]: it is no JSON array of ContainerSpecs: %v", InitLabel, err)
	}
	for i := range specs {
		field := fmt.Sprintf("Labels[%s][%d]", InitLabel, i)
		of := *b.service
		of.Spec = swarm.ServiceSpec{Annotations: swarm.Annotations{Name: of.Spec.Name}, TaskTemplate: swarm.TaskSpec{ContainerSpec: &specs[i]}}
		if len(of.Refs()) > 0 {
			return fmt.Errorf("%s: Secrets and Configs: it has those of its task, at their places: leave them away", field)
		}
		pod, err := of.Template(b.task)
		if err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		c := pod.Spec.Containers[0]
		c.Name, c.Lifecycle = "init-"+strconv.Itoa(i), nil
		if text := pod.Annotations[object.ContainerAnnotation(ContainerName)]; text != "" {
			b.note(object.ContainerAnnotation(c.Name), text)
		}
		if named := pod.Labels[VolumesLabel]; named != "" {
			b.pod.Labels[VolumesLabel] = named
		}
		c.ReadinessProbe, c.LivenessProbe, c.StartupProbe, c.Ports = nil, nil, nil, nil
		for _, v := range pod.Spec.Volumes {
			was := v.Name
			v.Name = c.Name + "-" + was
			for j := range c.VolumeMounts {
				if c.VolumeMounts[j].Name == was {
					c.VolumeMounts[j].Name = v.Name
				}
			}
			b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, v)
		}
		for _, m := range b.container.VolumeMounts { // and what the task's own has
			if !slices.ContainsFunc(c.VolumeMounts, func(own corev1.VolumeMount) bool { return own.MountPath == m.MountPath }) {
				c.VolumeMounts = append(c.VolumeMounts, m)
			}
		}
		b.pod.Spec.InitContainers = append(b.pod.Spec.InitContainers, c)
	}
	return nil
}

// devices are those of the node that the task's container has.
func (b *builder) devices(labels map[string]string) error {
	var rights []string
	for i, part := range split(labels[DevicesLabel]) {
		fields := strings.Split(part, ":")
		from, at, may := fields[0], fields[0], "rwm"
		if len(fields) > 1 {
			at = fields[1]
		}
		if len(fields) > 2 {
			may = fields[2]
		}
		if len(fields) > 3 || !path.IsAbs(from) || !path.IsAbs(at) || strings.Trim(may, "rwm") != "" || may == "" {
			return fmt.Errorf("Labels[%s]: %q is not of the form /dev/ON-NODE:/dev/IN-CONTAINER:rwm", DevicesLabel, part)
		}
		v := corev1.Volume{Name: "device-" + strconv.Itoa(i), VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: from, Type: ptr.To(corev1.HostPathUnset)}}}
		b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, v)
		b.container.VolumeMounts = append(b.container.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: at})
		rights = append(rights, v.Name+"="+may)
	}
	if len(rights) > 0 {
		if b.pod.Annotations == nil {
			b.pod.Annotations = map[string]string{}
		}
		b.pod.Annotations[object.DevicesAnnotation] = strings.Join(rights, ",")
	}
	return nil
}

// extended are the resources that device plugins give.
func (b *builder) extended(labels map[string]string) error {
	for _, part := range split(labels[ResourcesLabel]) {
		name, count, _ := strings.Cut(part, "=")
		n, err := strconv.ParseInt(count, 10, 32)
		if err != nil || n < 1 || len(validation.IsQualifiedName(name)) > 0 || !strings.Contains(name, "/") {
			return fmt.Errorf("Labels[%s]: %q is not of the form DOMAIN/NAME=COUNT, as nvidia.com/gpu=1", ResourcesLabel, part)
		}
		r := &b.container.Resources
		for _, list := range []*corev1.ResourceList{&r.Limits, &r.Requests} {
			if *list == nil {
				*list = corev1.ResourceList{}
			}
			(*list)[corev1.ResourceName(name)] = *resource.NewQuantity(n, resource.DecimalSI)
		}
	}
	return nil
}
