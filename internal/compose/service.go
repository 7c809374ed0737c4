package compose

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	ours "trireme/internal/object/swarm"
)

// service adds a service of the file, and the jobs that run before it.
func (c *converter) service(name string, s types.ServiceConfig) {
	path := "services." + name
	spec := c.spec(path, name, s.ContainerSpec, s.WorkloadSpec)
	maps.Copy(spec.Labels, deployLabels(s.Deploy))
	c.deploy(path, &spec, s)
	c.hooks(path, &spec, s)
	c.preStart(path, &spec, name, s)
	c.extension(path, &spec, s.Extensions)
	c.stack.Services = append(c.stack.Services, spec)
}

// job adds a job of the file: one that runs on a schedule.
func (c *converter) job(name string, j types.JobConfig) {
	path := "jobs." + name
	spec := c.spec(path, name, j.ContainerSpec, j.WorkloadSpec)
	spec.Mode = runsOnce()
	spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure}
	if j.Triggers == nil || len(j.Triggers.Schedule) != 1 {
		c.refuse(path+".triggers.schedule", "a job has one schedule here, such as \"0 3 * * *\"; for one that runs when it is deployed write a service with deploy.mode: replicated-job")
	} else {
		at := j.Triggers.Schedule[0]
		spec.Labels[ours.ScheduleLabel] = at.Cron
		if at.Timezone != "" {
			spec.Labels[ours.ScheduleLabel] = "TZ=" + at.Timezone + " " + at.Cron
		}
	}
	c.extension(path, &spec, j.Extensions)
	c.stack.Services = append(c.stack.Services, spec)
}

// spec is what services and jobs have in common.
func (c *converter) spec(path, name string, container types.ContainerSpec, work types.WorkloadSpec) swarm.ServiceSpec {
	spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: c.stack.Name + "_" + name, Labels: c.labels(nil)}}
	spec.Labels[imageLabel] = container.Image
	task := c.container(path, container)
	task.TTY, task.OpenStdin, task.Healthcheck = work.Tty, work.StdinOpen, health(work.HealthCheck)
	if container.Image == "" {
		c.refuse(path+".image", "a cluster builds nothing: give the image that its nodes find")
	}
	spec.TaskTemplate = swarm.TaskSpec{ContainerSpec: task, Networks: c.attachments(path, name, container, spec.Labels), Resources: resources(container)}
	if l := container.Logging; l != nil && l.Driver != "" {
		spec.TaskTemplate.LogDriver = &swarm.Driver{Name: l.Driver, Options: map[string]string(l.Options)}
	}
	c.shared(path, spec.Labels, container)
	c.ports(path, &spec, work.Ports)
	if len(work.DependsOn) > 0 {
		spec.Labels[ours.DependsOnLabel] = dependsOn(work.DependsOn)
	}
	return spec
}

// shared are what tasks have of their node or of a device plugin.
func (c *converter) shared(path string, labels map[string]string, s types.ContainerSpec) {
	if s.Privileged {
		labels[ours.PrivilegedLabel] = "true"
	}
	for _, f := range []struct{ field, value, label string }{{"pid", s.Pid, ours.PIDLabel}, {"ipc", s.Ipc, ours.IPCLabel}} {
		switch f.value {
		case "":
		case "host":
			labels[f.label] = f.value
		case "private", "shareable":
			if f.field == "ipc" {
				continue
			}
			fallthrough
		default:
			c.refuse(path+"."+f.field, "%q cannot be honoured: a task has its own, or its node's: host", f.value)
		}
	}
	var devices, wanted []string
	for _, d := range s.Devices {
		if !strings.HasPrefix(d.Source, "/") {
			c.refuse(path+".devices", "%q is no path: ask for what a device plugin gives with gpus, or x-trireme.resources: vendor.com/name=1", d.Source)
			continue
		}
		devices = append(devices, strings.Join([]string{d.Source, orText(d.Target, d.Source), orText(d.Permissions, "rwm")}, ":"))
	}
	for i, r := range s.Gpus {
		wanted = append(wanted, c.device(fmt.Sprintf("%s.gpus[%d]", path, i), r)...)
	}
	if len(devices) > 0 {
		labels[ours.DevicesLabel] = strings.Join(devices, ",")
	}
	c.want(labels, wanted)
}

// want adds to what of device plugins' is asked for.
func (c *converter) want(labels map[string]string, wanted []string) {
	if len(wanted) > 0 {
		all := append(split(labels[ours.ResourcesLabel]), wanted...)
		slices.Sort(all)
		labels[ours.ResourcesLabel] = strings.Join(slices.Compact(all), ",")
	}
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// vendors are the resources that GPUs are, by the driver that the file names.
var vendors = map[string]string{"": "nvidia.com/gpu", "nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/i915"}

// device returns what of a device plugin's a request asks for.
func (c *converter) device(path string, r types.DeviceRequest) []string {
	name, known := vendors[r.Driver]
	if !known || r.Driver == "" && len(r.Capabilities) > 0 && !slices.Contains(r.Capabilities, "gpu") && !slices.Contains(r.Capabilities, "nvidia") {
		c.refuse(path, "driver %q with capabilities %v: the drivers that are known are nvidia, amd and intel; ask for what another device plugin gives with x-trireme.resources: vendor.com/name=1", r.Driver, r.Capabilities)
		return nil
	}
	count := r.Count
	if count == 0 {
		count = 1
	}
	if count < 0 {
		c.refuse(path+".count", "all devices of a node cannot be asked for: give a number")
		return nil
	}
	return []string{fmt.Sprintf("%s=%d", name, count)}
}

// ports are what is published.
func (c *converter) ports(path string, spec *swarm.ServiceSpec, ports []types.ServicePortConfig) {
	for i, p := range ports {
		field := fmt.Sprintf("%s.ports[%d]", path, i)
		conf := swarm.PortConfig{Name: p.Name, Protocol: network.IPProtocol(p.Protocol), TargetPort: p.Target, PublishMode: swarm.PortConfigPublishMode(p.Mode)}
		if p.Published != "" {
			n, err := strconv.ParseUint(p.Published, 10, 16)
			if err != nil {
				c.refuse(field+".published", "%q is no port: give each port a line of its own", p.Published)
			}
			conf.PublishedPort = uint32(n)
		}
		address := p.HostIP
		if a, err := netip.ParseAddr(address); err == nil && a.IsUnspecified() {
			address = ""
		}
		if i > 0 && address != spec.Labels[ours.PublishAddressLabel] {
			c.refuse(field+".host_ip", "a service answers on one address, or on all: write the same host_ip for each of its ports")
		} else if address != "" {
			spec.Labels[ours.PublishAddressLabel] = address
		}
		if spec.EndpointSpec == nil {
			spec.EndpointSpec = &swarm.EndpointSpec{}
		}
		spec.EndpointSpec.Ports = append(spec.EndpointSpec.Ports, conf)
	}
}

// dependsOn writes what is waited for as its label has it.
func dependsOn(d types.DependsOnConfig) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(d)) {
		optional := ""
		if !d[name].Required {
			optional = "?"
		}
		all = append(all, name+optional+"="+orText(d[name].Condition, ours.ServiceStarted))
	}
	return strings.Join(all, ",")
}

// hooks are what runs in the container when it has started, and before it is stopped.
func (c *converter) hooks(path string, spec *swarm.ServiceSpec, s types.ServiceConfig) {
	for _, h := range []struct {
		field, label string
		hooks        []types.ServiceHook
	}{{"post_start", ours.PostStartLabel, s.PostStart}, {"pre_stop", ours.PreStopLabel, s.PreStop}} {
		switch len(h.hooks) {
		case 0:
		case 1:
			spec.Labels[h.label] = c.json(path+"."+h.field, []string(h.hooks[0].Command))
		default:
			c.refuse(path+"."+h.field, "there are %d hooks: write one, whose command runs them all", len(h.hooks))
		}
	}
}

// preStart are the containers that run before the service's: those of each task within
// its pod, the others once, as jobs that the service waits for.
func (c *converter) preStart(path string, spec *swarm.ServiceSpec, name string, s types.ServiceConfig) {
	var inits []*swarm.ContainerSpec
	waits, before := split(spec.Labels[ours.DependsOnLabel]), ""
	for i, h := range s.PreStart {
		field := fmt.Sprintf("%s.pre_start[%d]", path, i)
		if h.PerReplica {
			inits = append(inits, within(c.container(field, h.ContainerSpec), spec.TaskTemplate.ContainerSpec))
			continue
		}
		own := fmt.Sprintf("%s-pre-start-%d", name, i)
		job := c.spec(field, own, h.ContainerSpec, types.WorkloadSpec{})
		job.Mode = runsOnce()
		job.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone}
		inherit(job.TaskTemplate.ContainerSpec, spec.TaskTemplate.ContainerSpec.Mounts)
		job.Labels[ours.DependsOnLabel] = strings.Join(append(slices.Clone(waits), split(before)...), ",")
		if job.Labels[ours.DependsOnLabel] == "" {
			delete(job.Labels, ours.DependsOnLabel)
		}
		before = own + "=" + ours.ServiceCompleted
		spec.Labels[ours.DependsOnLabel] = strings.Join(append(slices.Clone(waits), before), ",")
		c.stack.Services = append(c.stack.Services, job)
	}
	if len(inits) > 0 {
		spec.Labels[ours.InitLabel] = c.json(path+".pre_start", inits)
	}
}

func runsOnce() swarm.ServiceMode {
	once := uint64(1)
	return swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &once, TotalCompletions: &once}}
}

// within leaves away what a hook in a task's pod has of its task.
func within(hook, task *swarm.ContainerSpec) *swarm.ContainerSpec {
	hook.Secrets = slices.DeleteFunc(hook.Secrets, func(r *swarm.SecretReference) bool {
		return slices.ContainsFunc(task.Secrets, func(of *swarm.SecretReference) bool { return reflect.DeepEqual(r, of) })
	})
	hook.Configs = slices.DeleteFunc(hook.Configs, func(r *swarm.ConfigReference) bool {
		return slices.ContainsFunc(task.Configs, func(of *swarm.ConfigReference) bool { return reflect.DeepEqual(r, of) })
	})
	return hook
}

// inherit gives a hook the mounts of its service that another task can have too, where
// it has none of its own.
func inherit(hook *swarm.ContainerSpec, mounts []mount.Mount) {
	for _, m := range mounts {
		taken := slices.ContainsFunc(hook.Mounts, func(own mount.Mount) bool { return own.Target == m.Target })
		if !taken && m.Source != "" {
			hook.Mounts = append(hook.Mounts, m)
		}
	}
}

func (c *converter) json(path string, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		c.refuse(path, "%v", err)
	}
	return string(b)
}

// extension reads x-trireme: each key is a label of the service, trireme.dev/KEY. Lists
// and maps are written with commas.
func (c *converter) extension(path string, spec *swarm.ServiceSpec, e types.Extensions) {
	all, ok := e["x-trireme"].(map[string]any)
	if _, given := e["x-trireme"]; given && !ok {
		c.refuse(path+".x-trireme", "it is a map of keys, as the labels trireme.dev/KEY are")
	}
	for key, v := range all {
		switch v := v.(type) {
		case map[string]any:
			var parts []string
			for _, k := range slices.Sorted(maps.Keys(v)) {
				parts = append(parts, fmt.Sprintf("%s=%v", k, v[k]))
			}
			spec.Labels[prefix+key] = strings.Join(parts, ",")
		case []any:
			var parts []string
			for _, p := range v {
				parts = append(parts, fmt.Sprint(p))
			}
			spec.Labels[prefix+key] = strings.Join(parts, ",")
		default:
			spec.Labels[prefix+key] = fmt.Sprint(v)
		}
	}
}

const prefix = "trireme.dev/"

func orText(s, other string) string {
	if s != "" {
		return s
	}
	return other
}

func duration(d *types.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return time.Duration(*d)
}

func durationOf(d *types.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	out := time.Duration(*d)
	return &out
}
