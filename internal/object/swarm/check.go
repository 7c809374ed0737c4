package swarm

import (
	"fmt"
	"regexp"

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
	m := spec.Mode
	if m.ReplicatedJob != nil || m.GlobalJob != nil {
		return fmt.Errorf("Mode: jobs of swarm are not served yet: use a Job of Kubernetes (kubectl create job)")
	}
	if m.Replicated != nil && m.Global != nil {
		return fmt.Errorf("Mode: it is Replicated or Global, not both")
	}
	for field, c := range map[string]*swarm.UpdateConfig{"UpdateConfig": spec.UpdateConfig, "RollbackConfig": spec.RollbackConfig} {
		if err := checkUpdate(c, field == "UpdateConfig"); err != nil {
			return fmt.Errorf("%s.%w", field, err)
		}
	}
	if p := spec.TaskTemplate.RestartPolicy; p != nil {
		switch p.Condition {
		case "", swarm.RestartPolicyConditionAny, swarm.RestartPolicyConditionNone, swarm.RestartPolicyConditionOnFailure:
		default:
			return fmt.Errorf("TaskTemplate.RestartPolicy.Condition: %q: it is any, none or on-failure", p.Condition)
		}
	}
	if v := spec.Labels[FollowLabel]; v != "" && v != "true" && v != "false" {
		return fmt.Errorf("Labels[%q]: %q: it is true or false", FollowLabel, v)
	}
	if err := s.checkPorts(); err != nil {
		return fmt.Errorf("EndpointSpec.%w", err)
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
		case host && p.PublishedPort == 0:
			return fmt.Errorf("%s.PublishedPort: a port in host mode is not chosen here: give one", field)
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
