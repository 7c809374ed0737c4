package marathon

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"trireme/internal/object"
	"trireme/internal/object/sandbox"
)

// podOf makes the pod of a Marathon pod's instance.
func (b *builder) podOf() {
	p := b.d.Pod
	b.networks()
	b.podVolumes()
	b.place()
	b.end()
	grace := float64(defaultGrace)
	var uris []sandbox.URI
	for i := range p.Containers {
		c := &p.Containers[i]
		if c.Lifecycle != nil {
			grace = max(grace, or(c.Lifecycle.KillGracePeriodSeconds, defaultGrace))
		}
		for _, f := range c.Artifacts {
			uris = append(uris, sandbox.URI{Value: f.URI, Executable: *f.Executable, Extract: f.Extract, Cache: *f.Cache, OutputFile: or(f.DestPath, ""), Container: c.Name})
		}
	}
	seconds := int64(math.Ceil(grace))
	b.pod.Spec.TerminationGracePeriodSeconds = &seconds
	if err := sandbox.Set(&b.pod, sandbox.Place{Agent: "marathon", Framework: "marathon", Executor: Name(b.d.ID)}, uris); err != nil {
		b.bad.add("/containers", "%v", err)
	}
	names := map[string]bool{}
	for i := range p.Containers {
		path := fmt.Sprintf("/containers/%d", i)
		if why := validation.IsDNS1123Label(p.Containers[i].Name); len(why) > 0 || names[p.Containers[i].Name] {
			b.bad.add(path+"/name", "%q is to be a DNS label, and another's name not: %v", p.Containers[i].Name, why)
		}
		names[p.Containers[i].Name] = true
		b.podContainer(path, &p.Containers[i])
	}
	b.podPorts()
	if x := p.ExecutorResources; len(b.pod.Spec.Containers) > 0 { // what Mesos books beside the tasks is the first container's
		first := &b.pod.Spec.Containers[0].Resources
		addTo(first.Requests, corev1.ResourceCPU, cores(*x.CPUs))
		addTo(first.Requests, corev1.ResourceMemory, Mebibytes(*x.Mem))
		addTo(first.Limits, corev1.ResourceMemory, Mebibytes(*x.Mem))
	}
}

func addTo(list corev1.ResourceList, name corev1.ResourceName, more resource.Quantity) {
	if q, ok := list[name]; ok {
		q.Add(more)
		list[name] = q
	}
}

// podContainer adds one container.
func (b *builder) podContainer(path string, c *PodContainer) {
	out := corev1.Container{Name: c.Name, TTY: or(c.TTY, false)}
	user := or(c.User, or(b.d.User, ""))
	cmd := sandbox.Command{User: user}
	if c.Exec != nil {
		cmd.Shell = c.Exec.Command.Shell != nil
		cmd.Value, cmd.Args = or(c.Exec.Command.Shell, ""), c.Exec.Command.Argv
		if !cmd.Shell && len(cmd.Args) > 0 {
			cmd.Value = cmd.Args[0]
		}
	}
	dir := sandbox.TaskDir(c.Name)
	out.Resources = podResources(c)
	b.podEnv(path, &out, c)
	switch {
	case c.Image == nil && c.Exec == nil:
		b.bad.add(path, "has neither an image nor exec: give one")
	case c.Image == nil:
		sandbox.OnHostRoot(&b.pod, &out, dir, cmd)
	case c.Image.Kind != "DOCKER":
		b.bad.add(path+"/image/kind", "%q: images of kind DOCKER can be run", c.Image.Kind)
	default:
		out.Image, out.ImagePullPolicy = c.Image.ID, corev1.PullIfNotPresent
		if or(c.Image.ForcePull, false) {
			out.ImagePullPolicy = corev1.PullAlways
		}
		sandbox.InImage(&out, cmd)
		out.VolumeMounts = append(out.VolumeMounts, corev1.VolumeMount{Name: sandbox.Volume, MountPath: sandbox.Path, SubPath: dir})
		b.podUser(&out, user)
		b.podPull(path, c.Image.PullConfig)
	}
	for n, m := range c.VolumeMounts {
		known := slices.ContainsFunc(b.d.Pod.Volumes, func(v PodVolume) bool { return v.Name == m.Name })
		if !known {
			b.bad.add(fmt.Sprintf("%s/volumeMounts/%d/name", path, n), "%q is none of the pod's volumes", m.Name)
		}
		at := m.MountPath
		if len(at) > 0 && at[0] != '/' {
			at = sandbox.Path + "/" + at
		}
		out.VolumeMounts = append(out.VolumeMounts, corev1.VolumeMount{Name: volumeName(m.Name), MountPath: at, ReadOnly: or(m.ReadOnly, false)})
	}
	b.podHealth(path, &out, c)
	b.pod.Spec.Containers = append(b.pod.Spec.Containers, out)
}

func (b *builder) podUser(out *corev1.Container, user string) {
	if user == "" {
		return
	}
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		out.SecurityContext = &corev1.SecurityContext{RunAsUser: &uid}
		return
	}
	text, err := json.Marshal(object.ContainerOptions{User: user})
	if err == nil {
		b.pod.Annotations[object.ContainerAnnotation(out.Name)] = string(text)
	}
}

func (b *builder) podPull(path string, pull *PullConfig) {
	if pull == nil {
		return
	}
	secret, ok := b.d.Secrets[pull.Secret]
	if !ok {
		b.bad.add(path+"/image/pullConfig/secret", "secret %q is not one of the pod's secrets", pull.Secret)
		return
	}
	name, _ := secret.place()
	b.pod.Spec.ImagePullSecrets = append(b.pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
}

func podResources(c *PodContainer) corev1.ResourceRequirements {
	r := c.Resources
	list := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: cores(*r.CPUs), corev1.ResourceMemory: Mebibytes(*r.Mem)},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: Mebibytes(*r.Mem)},
	}
	if *r.Disk > 0 {
		list.Requests[corev1.ResourceEphemeralStorage] = Mebibytes(*r.Disk)
	}
	if *r.GPUs > 0 {
		q := *resource.NewQuantity(int64(*r.GPUs), resource.DecimalSI)
		list.Requests[gpu], list.Limits[gpu] = q, q
	}
	if l := c.ResourceLimits; l != nil {
		if l.CPUs != nil && !l.CPUs.Unlimited {
			list.Limits[corev1.ResourceCPU] = cores(l.CPUs.Value)
		}
		if l.Mem != nil && l.Mem.Unlimited {
			delete(list.Limits, corev1.ResourceMemory)
		} else if l.Mem != nil {
			list.Limits[corev1.ResourceMemory] = Mebibytes(l.Mem.Value)
		}
	}
	return list
}

// podEnv gives a container the variables of pods (§11), the pod's, and its own, which win.
func (b *builder) podEnv(path string, out *corev1.Container, c *PodContainer) {
	d, e := b.d, &env{}
	e.from(instanceVariable, field("metadata.uid"))
	e.from("HOST", field("status.hostIP"))
	e.text("MESOS_TASK_ID", flat(d.ID)+".instance-$("+instanceVariable+")."+c.Name+".1")
	e.text("MESOS_SANDBOX", sandbox.Path)
	e.text("MARATHON_APP_ID", d.ID)
	e.from("MARATHON_APP_VERSION", annotation(VersionAnnotation))
	e.text("MARATHON_CONTAINER_ID", c.Name)
	r := c.Resources
	for name, n := range map[string]float64{"CPUS": *r.CPUs, "MEM": *r.Mem, "DISK": *r.Disk, "GPUS": float64(*r.GPUs)} {
		e.text("MARATHON_CONTAINER_RESOURCE_"+name, strconv.FormatFloat(n, 'f', -1, 64))
	}
	slices.SortFunc(e.list, func(x, y corev1.EnvVar) int { // the order of a map is none
		switch {
		case x.Name == instanceVariable:
			return -1
		case y.Name == instanceVariable:
			return 1
		case x.Name < y.Name:
			return -1
		}
		return 1
	})
	dynamic := 0
	for _, p := range d.Endpoints() {
		host, inside := "EP_HOST_"+variable(p.Name), "EP_CONTAINER_"+variable(p.Name)
		switch {
		case p.Port.OnHost && p.Port.Host == 0:
			e.from(host, annotation(object.PortAnnotation(dynamic)))
			dynamic++
		case p.Port.OnHost:
			e.text(host, strconv.Itoa(int(p.Port.Host)))
		}
		if p.Port.Container != 0 {
			e.text(inside, strconv.Itoa(int(p.Port.Container)))
		} else if p.Port.OnHost {
			e.text(inside, "$("+host+")")
		}
	}
	for _, own := range []map[string]EnvValue{d.Pod.Environment, c.Environment} {
		for _, name := range slices.Sorted(maps.Keys(own)) {
			b.own(e, name, own[name])
		}
	}
	out.Env = e.list
}

// podPorts asks for the ports of endpoints.
func (b *builder) podPorts() {
	var dynamic []object.DynamicPort
	for i, p := range b.d.Endpoints() {
		at := slices.IndexFunc(b.pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == p.Container })
		switch {
		case at < 0:
		case p.Port.OnHost && p.Port.Host == 0:
			dynamic = append(dynamic, object.DynamicPort{Container: p.Container, Name: PortName(i), ContainerPort: p.Port.Container, Protocols: p.Port.Protocols})
		case !p.Port.OnHost && p.Port.Container == 0:
			b.bad.add("/containers/endpoints/"+p.Name, "has neither a containerPort nor a hostPort: give one")
		default:
			one := corev1.ContainerPort{Name: PortName(i), ContainerPort: p.Port.Container, HostPort: p.Port.Host, Protocol: p.Port.Protocols[0]}
			if one.ContainerPort == 0 {
				one.ContainerPort = p.Port.Host
			}
			b.pod.Spec.Containers[at].Ports = append(b.pod.Spec.Containers[at].Ports, one)
		}
	}
	if len(dynamic) > 0 {
		text, err := json.Marshal(dynamic)
		if err != nil {
			b.bad.add("/containers", "%v", err)
		}
		b.pod.Annotations[object.DynamicPortsAnnotation] = string(text)
	}
}

// volumeName is what a pod's volume is called, whose name need not be one of Kubernetes'.
func volumeName(name string) string { return "v-" + Name("/"+name) }

func (b *builder) podVolumes() {
	for i, v := range b.d.Pod.Volumes {
		path := fmt.Sprintf("/volumes/%d", i)
		source := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
		switch {
		case v.Host != nil:
			kind := corev1.HostPathUnset
			source = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: *v.Host, Type: &kind}}
		case v.Secret != nil:
			secret, ok := b.d.Secrets[*v.Secret]
			if !ok {
				b.bad.add(path+"/secret", "secret %q is not one of the pod's secrets", *v.Secret)
			}
			name, key := secret.place()
			source = corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Items: []corev1.KeyToPath{{Key: key, Path: key}}}}
		case v.Persistent != nil:
			b.bad.add(path+"/persistent", "persistent volumes of pods are not kept yet: use a host path")
		}
		b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, corev1.Volume{Name: volumeName(v.Name), VolumeSource: source})
	}
}

// podHealth maps a container's check.
func (b *builder) podHealth(path string, out *corev1.Container, c *PodContainer) {
	h := c.HealthCheck
	if h == nil {
		return
	}
	path += "/healthCheck"
	var handler corev1.ProbeHandler
	port := func(t *CheckTarget) (at intstr.IntOrString) {
		for i, e := range b.d.Endpoints() {
			if e.Container == c.Name && e.Name == or(t.Endpoint, "") {
				return intstr.FromString(PortName(i))
			}
		}
		b.bad.add(path+"/endpoint", "%q is none of the container's endpoints", or(t.Endpoint, ""))
		return at
	}
	switch {
	case h.Exec != nil && h.Exec.Command.Shell != nil:
		handler.Exec = &corev1.ExecAction{Command: []string{"/bin/sh", "-c", *h.Exec.Command.Shell}}
	case h.Exec != nil:
		handler.Exec = &corev1.ExecAction{Command: h.Exec.Command.Argv}
	case h.HTTP != nil:
		handler.HTTPGet = &corev1.HTTPGetAction{Path: or(h.HTTP.Path, "/"), Port: port(h.HTTP), Scheme: corev1.URIScheme(or(h.HTTP.Scheme, "HTTP"))}
	case h.TCP != nil:
		handler.TCPSocket = &corev1.TCPSocketAction{Port: port(h.TCP)}
	default:
		b.bad.add(path, "has none of exec, http and tcp")
		return
	}
	h.probes(out, handler, *h.DelaySeconds)
}
