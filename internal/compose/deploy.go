package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	ours "trireme/internal/object/swarm"
)

func deployLabels(d *types.DeployConfig) map[string]string {
	if d == nil {
		return nil
	}
	return d.Labels
}

// deploy is how a service runs: how many tasks, where, and how they are replaced.
func (c *converter) deploy(path string, spec *swarm.ServiceSpec, s types.ServiceConfig) {
	d := s.Deploy
	if d == nil {
		d = &types.DeployConfig{}
	}
	path += ".deploy"
	c.mode(path, spec, d.Mode, s)
	c.limits(path+".resources", spec, d.Resources)
	if len(d.Placement.Constraints)+len(d.Placement.Preferences) > 0 || d.Placement.MaxReplicas > 0 {
		p := &swarm.Placement{Constraints: d.Placement.Constraints, MaxReplicas: d.Placement.MaxReplicas}
		for _, pref := range d.Placement.Preferences {
			p.Preferences = append(p.Preferences, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: pref.Spread}})
		}
		spec.TaskTemplate.Placement = p
	}
	if d.EndpointMode != "" {
		if spec.EndpointSpec == nil {
			spec.EndpointSpec = &swarm.EndpointSpec{}
		}
		spec.EndpointSpec.Mode = swarm.ResolutionMode(d.EndpointMode)
	}
	spec.UpdateConfig, spec.RollbackConfig = updateConfig(d.UpdateConfig), updateConfig(d.RollbackConfig)
	policy, err := restartPolicy(d.RestartPolicy, s.Restart)
	if err != nil {
		c.refuse(strings.TrimSuffix(path, ".deploy")+".restart", "%v", err)
	}
	spec.TaskTemplate.RestartPolicy = policy
}

func (c *converter) mode(path string, spec *swarm.ServiceSpec, mode string, s types.ServiceConfig) {
	n := uint64(s.GetScale())
	many := s.Scale != nil || s.Deploy != nil && s.Deploy.Replicas != nil
	switch mode {
	case "", "replicated":
		spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
	case "replicated-job":
		spec.Mode.ReplicatedJob = &swarm.ReplicatedJob{MaxConcurrent: &n, TotalCompletions: &n}
	case "global", "global-job":
		if many {
			c.refuse(path+".replicas", "a %s service has a task on each node: leave it away", mode)
		}
		if mode == "global" {
			spec.Mode.Global = &swarm.GlobalService{}
		} else {
			spec.Mode.GlobalJob = &swarm.GlobalJob{}
		}
	default:
		c.refuse(path+".mode", "%q: it is replicated, global, replicated-job or global-job", mode)
	}
}

func updateConfig(u *types.UpdateConfig) *swarm.UpdateConfig {
	if u == nil {
		return nil
	}
	out := &swarm.UpdateConfig{Parallelism: 1, Delay: time.Duration(u.Delay), FailureAction: swarm.FailureAction(u.FailureAction),
		Monitor: time.Duration(u.Monitor), MaxFailureRatio: u.MaxFailureRatio, Order: swarm.UpdateOrder(u.Order)}
	if u.Parallelism != nil {
		out.Parallelism = *u.Parallelism
	}
	return out
}

// restartPolicy reads deploy.restart_policy, or else restart.
func restartPolicy(p *types.RestartPolicy, restart string) (*swarm.RestartPolicy, error) {
	if p != nil {
		return &swarm.RestartPolicy{Condition: swarm.RestartPolicyCondition(p.Condition), Delay: durationOf(p.Delay), MaxAttempts: p.MaxAttempts, Window: durationOf(p.Window)}, nil
	}
	word, attempts, _ := strings.Cut(restart, ":")
	switch word {
	case "":
		return nil, nil
	case types.RestartPolicyNo:
		return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone}, nil
	case types.RestartPolicyAlways, types.RestartPolicyUnlessStopped:
		return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny}, nil
	case types.RestartPolicyOnFailure:
		out := &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure}
		if attempts != "" {
			n, err := strconv.ParseUint(attempts, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q: the attempts after on-failure: are a number", restart)
			}
			out.MaxAttempts = &n
		}
		return out, nil
	}
	return nil, fmt.Errorf("%q: it is no, always, on-failure or unless-stopped", restart)
}

// resources are those that are said beside deploy.
func resources(s types.ContainerSpec) *swarm.ResourceRequirements {
	r := &swarm.ResourceRequirements{}
	if s.CPUS > 0 || s.MemLimit > 0 || s.PidsLimit > 0 {
		r.Limits = &swarm.Limit{NanoCPUs: int64(float64(s.CPUS) * 1e9), MemoryBytes: int64(s.MemLimit), Pids: s.PidsLimit}
	}
	if s.MemReservation > 0 {
		r.Reservations = &swarm.Resources{MemoryBytes: int64(s.MemReservation)}
	}
	if r.Limits == nil && r.Reservations == nil {
		return nil
	}
	return r
}

// limits reads deploy.resources, which goes before what is said beside it.
func (c *converter) limits(path string, spec *swarm.ServiceSpec, d types.Resources) {
	if d.Limits == nil && d.Reservations == nil {
		return
	}
	r := spec.TaskTemplate.Resources
	if r == nil {
		r = &swarm.ResourceRequirements{}
		spec.TaskTemplate.Resources = r
	}
	if l := d.Limits; l != nil {
		r.Limits = &swarm.Limit{NanoCPUs: nanoCPUs(l.NanoCPUs), MemoryBytes: int64(l.MemoryBytes), Pids: l.Pids}
		if len(l.Devices)+len(l.GenericResources) > 0 {
			c.refuse(path+".limits.devices", "devices are reserved: write them under reservations")
		}
	}
	if q := d.Reservations; q != nil {
		r.Reservations = &swarm.Resources{NanoCPUs: nanoCPUs(q.NanoCPUs), MemoryBytes: int64(q.MemoryBytes)}
		if q.Pids > 0 {
			c.refuse(path+".reservations.pids", "processes are limited, not reserved: write it under limits")
		}
		var wanted []string
		for i, dev := range q.Devices {
			wanted = append(wanted, c.device(fmt.Sprintf("%s.reservations.devices[%d]", path, i), dev)...)
		}
		c.want(spec.Labels, wanted)
		for _, g := range q.GenericResources {
			if g.DiscreteResourceSpec != nil {
				r.Reservations.GenericResources = append(r.Reservations.GenericResources, swarm.GenericResource{
					DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: g.DiscreteResourceSpec.Kind, Value: g.DiscreteResourceSpec.Value},
				})
			}
		}
	}
}

// nanoCPUs counts billionths of a CPU; the file's have a few digits only, which their
// type rounds.
func nanoCPUs(n types.NanoCPUs) int64 {
	f, err := strconv.ParseFloat(strconv.FormatFloat(float64(n), 'g', -1, 32), 64)
	if err != nil {
		return 0 // it was a number
	}
	return int64(f * 1e9)
}

func health(h *types.HealthCheckConfig) *container.HealthConfig {
	if h == nil {
		return nil
	}
	if h.Disable {
		return &container.HealthConfig{Test: []string{"NONE"}}
	}
	out := &container.HealthConfig{Test: h.Test, Timeout: duration(h.Timeout), Interval: duration(h.Interval), StartPeriod: duration(h.StartPeriod), StartInterval: duration(h.StartInterval)}
	if h.Retries != nil {
		out.Retries = int(*h.Retries)
	}
	return out
}

// attachments are the networks that a task is on.
func (c *converter) attachments(path, name string, s types.ContainerSpec, labels map[string]string) (out []swarm.NetworkAttachmentConfig) {
	switch s.NetworkMode {
	case "":
	case "host", "none":
		return []swarm.NetworkAttachmentConfig{{Target: s.NetworkMode}}
	case "bridge":
		return nil
	default:
		c.refuse(path+".network_mode", "%q: it is host, none or bridge", s.NetworkMode)
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(s.Networks)) {
		n := c.project.Networks[key]
		a := swarm.NetworkAttachmentConfig{Target: n.Name, Aliases: []string{name}}
		if conf := s.Networks[key]; conf != nil {
			a.Aliases = append(a.Aliases, conf.Aliases...)
			a.DriverOpts = map[string]string(conf.DriverOpts)
			if address := strings.Join(slices.DeleteFunc([]string{conf.Ipv4Address, conf.Ipv6Address}, func(s string) bool { return s == "" }), ","); address != "" {
				labels[ours.AddressLabel+n.Name] = address
			}
		}
		out = append(out, a)
	}
	return out
}
