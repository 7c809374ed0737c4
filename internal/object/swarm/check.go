package swarm

import (
	"fmt"
	"regexp"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// nameForm is what a service may be called (swarmkit, controlapi).
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`)

// Check returns what is wrong with the spec, by its field and with the remedy.
func (s *Service) Check() error {
	spec := &s.Spec
	if len(spec.Name) > 63 || !nameForm.MatchString(spec.Name) {
		return fmt.Errorf("name must be valid as a DNS name component: Name %q is to have 1 to 63 letters, digits, - and _, and to begin and end with a letter or digit", spec.Name)
	}
	if err := s.checkMode(); err != nil {
		return err
	}
	if err := s.checkLabels(); err != nil {
		return err
	}
	for field, c := range map[string]*swarm.UpdateConfig{"UpdateConfig": spec.UpdateConfig, "RollbackConfig": spec.RollbackConfig} {
		if err := checkUpdate(c, field == "UpdateConfig"); err != nil {
			return fmt.Errorf("%s.%w", field, err)
		}
	}
	if err := checkTask(&spec.TaskTemplate); err != nil {
		return fmt.Errorf("TaskTemplate.%w", err)
	}
	if v := spec.Labels[FollowLabel]; v != "" && v != "true" && v != "false" {
		return fmt.Errorf("Labels[%q]: %q: it is true or false", FollowLabel, v)
	}
	if err := s.checkPorts(); err != nil {
		return fmt.Errorf("EndpointSpec.%w", err)
	}
	if err := s.checkKnown(); err != nil {
		return err
	}
	if err := s.checkPublished(); err != nil {
		return err
	}
	if c := spec.TaskTemplate.ContainerSpec; c != nil {
		at := map[string]bool{}
		for i, mount := range c.Mounts {
			if mount.Target == "" || at[mount.Target] {
				return fmt.Errorf("ContainerSpec: duplicate mount point: TaskTemplate.ContainerSpec.Mounts[%d].Target %q: each mount needs a target of its own", i, mount.Target)
			}
			at[mount.Target] = true
		}
	}
	_, err := s.Template(s.Example())
	return err
}

// Example returns a task of the service: what its templates may know.
func (s *Service) Example() Task {
	if _, replicated := s.Replicas(); replicated {
		return Task{Slot: "1"}
	}
	return Task{Slot: "1", Node: Node{ID: "node", Hostname: "node"}}
}

// checkTask returns what is wrong with numbers and words that a pod has no fields for.
func checkTask(t *swarm.TaskSpec) error {
	if p := t.RestartPolicy; p != nil {
		switch p.Condition {
		case "", swarm.RestartPolicyConditionAny, swarm.RestartPolicyConditionNone, swarm.RestartPolicyConditionOnFailure:
		default:
			return fmt.Errorf("RestartPolicy.Condition: %q: it is any, none or on-failure", p.Condition)
		}
		if p.Delay != nil && *p.Delay < 0 {
			return fmt.Errorf("RestartPolicy.Delay: restart-delay cannot be negative: %s", *p.Delay)
		}
		if p.Window != nil && *p.Window < 0 {
			return fmt.Errorf("RestartPolicy.Window: restart-window cannot be negative: %s", *p.Window)
		}
	}
	if r := t.Resources; r != nil {
		var limit, reserved swarm.Resources
		if l := r.Limits; l != nil {
			limit.NanoCPUs, limit.MemoryBytes = l.NanoCPUs, l.MemoryBytes
		}
		if q := r.Reservations; q != nil {
			reserved = *q
		}
		for _, x := range []struct {
			field string
			is    swarm.Resources
		}{{"Limits", limit}, {"Reservations", reserved}} {
			switch {
			case x.is.NanoCPUs != 0 && x.is.NanoCPUs < nanoCPUsMin:
				return fmt.Errorf("Resources.%s.NanoCPUs: invalid cpu value %g: Must be at least %g", x.field, float64(x.is.NanoCPUs)/1e9, nanoCPUsMin/1e9)
			case x.is.MemoryBytes != 0 && x.is.MemoryBytes < memoryMinBytes:
				return fmt.Errorf("Resources.%s.MemoryBytes: invalid memory value %d: Must be at least 4MiB", x.field, x.is.MemoryBytes)
			}
		}
	}
	if c := t.ContainerSpec; c != nil && c.Healthcheck != nil {
		h := c.Healthcheck
		for _, x := range []struct {
			field string
			is    time.Duration
		}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
			if x.is != 0 && x.is < time.Millisecond {
				return fmt.Errorf("ContainerSpec.Healthcheck.%s: %s cannot be less than 1ms; 0 is the default", x.field, x.is)
			}
			if x.is > healthMax {
				return fmt.Errorf("ContainerSpec.Healthcheck.%s: %s is more than %s", x.field, x.is, healthMax)
			}
		}
		if h.Retries < 0 || h.Retries > retriesMax {
			return fmt.Errorf("ContainerSpec.Healthcheck.Retries: %d: it is 0, the default, to %d", h.Retries, retriesMax)
		}
	}
	return nil
}

// What a health check may wait and try at most.
const (
	healthMax  = 366 * 24 * time.Hour
	retriesMax = 1_000_000
)

// What a task may ask for at least (swarmkit, controlapi).
const (
	nanoCPUsMin    = 1e6
	memoryMinBytes = 4 << 20
)

func checkUpdate(c *swarm.UpdateConfig, forward bool) error {
	if c == nil {
		return nil
	}
	switch c.FailureAction {
	case "", swarm.UpdateFailureActionPause, swarm.UpdateFailureActionContinue:
	case swarm.UpdateFailureActionRollback:
		if !forward {
			return fmt.Errorf("FailureAction: a rollback that fails is paused or goes on: it is pause or continue")
		}
	default:
		return fmt.Errorf("FailureAction: %q: it is pause, continue or rollback", c.FailureAction)
	}
	switch c.Order {
	case "", swarm.UpdateOrderStartFirst, swarm.UpdateOrderStopFirst:
	default:
		return fmt.Errorf("Order: %q: it is stop-first or start-first", c.Order)
	}
	switch {
	case c.Delay < 0:
		return fmt.Errorf("Delay: %s is negative", c.Delay)
	case c.Monitor < 0:
		return fmt.Errorf("Monitor: %s is negative", c.Monitor)
	case c.MaxFailureRatio < 0 || c.MaxFailureRatio > 1:
		return fmt.Errorf("MaxFailureRatio: %g: it is a part, from 0 to 1", c.MaxFailureRatio)
	}
	return nil
}

func (s *Service) checkPorts() error {
	e := s.Spec.EndpointSpec
	if e == nil {
		return nil
	}
	switch e.Mode {
	case "", swarm.ResolutionModeVIP, swarm.ResolutionModeDNSRR:
	default:
		return fmt.Errorf("Mode: %q: it is vip or dnsrr", e.Mode)
	}
	seen := map[string]bool{}
	for i, p := range e.Ports {
		field := fmt.Sprintf("Ports[%d]", i)
		host := p.PublishMode == swarm.PortConfigPublishModeHost
		switch {
		case p.TargetPort == 0 || p.TargetPort > 65535:
			return fmt.Errorf("%s.TargetPort: %d is no port: it is 1 to 65535", field, p.TargetPort)
		case p.PublishedPort > 65535:
			return fmt.Errorf("%s.PublishedPort: %d is no port: it is 1 to 65535, or 0 for one that is chosen", field, p.PublishedPort)
		case p.PublishMode != "" && !host && p.PublishMode != swarm.PortConfigPublishModeIngress:
			return fmt.Errorf("%s.PublishMode: %q: it is ingress or host", field, p.PublishMode)
		case e.Mode == swarm.ResolutionModeDNSRR && !host:
			return fmt.Errorf("%s: port published with ingress mode can't be used with dnsrr mode", field)
		}
		name := fmt.Sprint(host, PortName(p))
		if seen[name] {
			return fmt.Errorf("%s: duplicate published ports provided: %s is there twice", field, PortName(p))
		}
		seen[name] = true
	}
	return nil
}
