package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// services returns a stack's services with how many tasks run, in the order of names;
// an error where there are none.
func (s *stacks) services(ctx context.Context, name string) ([]swarm.Service, error) {
	all, err := s.api.ServiceList(ctx, client.ServiceListOptions{Filters: of(name), Status: true})
	if err != nil {
		return nil, err
	}
	if len(all.Items) == 0 {
		return nil, fmt.Errorf("there is no stack %s: `trireme stack ls` lists them, `trireme stack deploy -c FILE %s` makes one", name, name)
	}
	slices.SortFunc(all.Items, func(a, b swarm.Service) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
	return all.Items, nil
}

func modeOf(o *swarm.Service) string {
	switch m := o.Spec.Mode; {
	case m.Global != nil:
		return "global"
	case m.ReplicatedJob != nil:
		return "replicated-job"
	case m.GlobalJob != nil:
		return "global-job"
	}
	return "replicated"
}

// job reports whether the service's tasks are to end.
func job(o *swarm.Service) bool {
	return o.Spec.Mode.ReplicatedJob != nil || o.Spec.Mode.GlobalJob != nil
}

func replicasOf(o *swarm.Service) string {
	st := o.ServiceStatus
	if st == nil {
		return ""
	}
	text := fmt.Sprintf("%d/%d", st.RunningTasks, st.DesiredTasks)
	if job(o) {
		text += fmt.Sprintf(" (%d completed)", st.CompletedTasks)
	}
	return text
}

func portsOf(o *swarm.Service) string {
	var all []string
	for _, p := range o.Endpoint.Ports {
		all = append(all, fmt.Sprintf("%d->%d/%s", p.PublishedPort, p.TargetPort, p.Protocol))
	}
	return strings.Join(all, ",")
}

func stateOf(o *swarm.Service) string {
	if o.UpdateStatus == nil {
		return ""
	}
	return string(o.UpdateStatus.State)
}
