package stack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	ours "trireme/internal/object/swarm"
)

// period is how often a manager is asked how far it is.
const period = 300 * time.Millisecond

// wait waits until what was written runs as it should, or says which does not and why.
func (d *deploy) wait(ctx context.Context, timeout time.Duration) error {
	if len(d.written) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errLate)
	defer cancel()
	p := d.env.Progress()
	defer p.Done()
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		behind, err := d.behind(ctx)
		if err != nil && !errors.Is(context.Cause(ctx), errLate) {
			return err
		}
		if err == nil {
			text := "all services run"
			if len(behind) > 0 {
				text = behind[0].String()
			}
			p.Count(len(d.written)-len(behind), len(d.written), text)
			if len(behind) == 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), errLate) || len(behind) == 0 {
				return context.Cause(ctx)
			}
			return fmt.Errorf("after %s: %s: see `trireme stack ps %s`; it goes on", timeout, behind[0], d.stack.Name)
		case <-tick.C:
		}
	}
}

var errLate = errors.New("it is too late")

// lag is a service that is not yet as it should be.
type lag struct {
	name       string
	have, want uint64
	why        string
}

func (l lag) String() string {
	text := fmt.Sprintf("service %s: %d of %d tasks", l.name, l.have, l.want)
	if l.why != "" {
		text += ": " + l.why
	}
	return text
}

// behind returns the written services that are not yet as they should be; an error
// where one cannot become so.
func (d *deploy) behind(ctx context.Context) (out []lag, err error) {
	for _, id := range d.written {
		got, err := d.api.ServiceInspect(ctx, id, client.ServiceInspectOptions{})
		if err != nil {
			return nil, err
		}
		if u := got.Service.UpdateStatus; u != nil {
			switch u.State {
			case swarm.UpdateStatePaused, swarm.UpdateStateRollbackPaused, swarm.UpdateStateRollbackCompleted:
				return nil, fmt.Errorf("service %s: %s: %s", got.Service.Spec.Name, u.State, u.Message)
			}
		}
		l, done, err := d.lag(ctx, &got.Service)
		if err != nil {
			return nil, err
		}
		if !done {
			out = append(out, l)
		}
	}
	return out, nil
}

// lag compares a service's present tasks with what it asks for.
func (d *deploy) lag(ctx context.Context, s *swarm.Service) (l lag, done bool, err error) {
	tasks, err := d.api.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("service", s.ID).Add("_up-to-date", "true")})
	if err != nil {
		return l, false, err
	}
	l.name = s.Spec.Name
	wanted := swarm.TaskStateRunning
	switch m := s.Spec.Mode; {
	case s.Spec.Labels[ours.ScheduleLabel] != "":
		return l, true, nil // it runs when it is time
	case m.Replicated != nil && m.Replicated.Replicas != nil:
		l.want = *m.Replicated.Replicas
	case m.ReplicatedJob != nil:
		l.want, wanted = *m.ReplicatedJob.TotalCompletions, swarm.TaskStateComplete
	case m.GlobalJob != nil:
		l.want, wanted = uint64(len(tasks.Items)), swarm.TaskStateComplete
	default:
		l.want = uint64(len(tasks.Items))
	}
	for i := range tasks.Items {
		switch st := &tasks.Items[i].Status; {
		case st.State == wanted:
			l.have++
		case st.Err != "":
			l.why = st.Err
		}
	}
	return l, l.have >= l.want && (l.want > 0 || none(s)), nil
}

// none reports whether the service asks for no task.
func none(s *swarm.Service) bool {
	m := s.Spec.Mode
	return m.Replicated != nil && m.Replicated.Replicas != nil && *m.Replicated.Replicas == 0
}
