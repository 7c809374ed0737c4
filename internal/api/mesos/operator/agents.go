package operator

import (
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/mesos/codec"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/object/mesos"
)

// known returns the agent of an id that the caller may see and that is not gone.
func (s *Server) known(r *Request, id string) (*agent, error) {
	a := s.look(r).find(id)
	switch {
	case a == nil:
		return nil, codec.Refuse(http.StatusBadRequest, "No agent found with ID %s: GET_AGENTS lists those that are there", id)
	case a.Spec.Gone:
		return nil, codec.Refuse(http.StatusBadRequest, "Agent %s has been marked gone", id)
	}
	return a, nil
}

func drainCall(s *Server, r *Request, call *master.Call) error {
	c := call.GetDrainAgent()
	a, err := s.known(r, c.GetAgentId().GetValue())
	if err != nil {
		return err
	}
	drain := &mesos.Drain{MarkGone: c.GetMarkGone()}
	if c.MaxGracePeriod != nil {
		grace := c.GetMaxGracePeriod().AsDuration()
		if grace < 0 || c.GetMaxGracePeriod().CheckValid() != nil {
			return codec.NotValid(call, "'drain_agent.max_grace_period' is negative or out of range")
		}
		drain.MaxGrace = &metav1.Duration{Duration: grace.Round(time.Nanosecond)}
	}
	return r.changeAgent(a.Name, func(a *mesos.Agent) error {
		a.Spec.Drain, a.Spec.Deactivated = drain, true
		return nil
	})
}

func deactivateCall(s *Server, r *Request, call *master.Call) error {
	a, err := s.known(r, call.GetDeactivateAgent().GetAgentId().GetValue())
	if err != nil {
		return err
	}
	return r.changeAgent(a.Name, func(a *mesos.Agent) error {
		a.Spec.Deactivated = true
		return nil
	})
}

// reactivateCall ends what drain and deactivate began, and nothing else: a machine
// that is down for maintenance comes up by STOP_MAINTENANCE.
func reactivateCall(s *Server, r *Request, call *master.Call) error {
	a, err := s.known(r, call.GetReactivateAgent().GetAgentId().GetValue())
	if err != nil {
		return err
	}
	switch {
	case a.Spec.Down:
		return codec.Refuse(http.StatusBadRequest, "Agent %s is down for maintenance: STOP_MAINTENANCE brings its machine up", a.Status.ID)
	case a.Spec.Drain != nil && a.Spec.Drain.MarkGone:
		return codec.Refuse(http.StatusBadRequest, "Agent %s will be marked gone when it is drained, and cannot be reactivated", a.Status.ID)
	}
	return r.changeAgent(a.Name, func(a *mesos.Agent) error {
		a.Spec.Drain, a.Spec.Deactivated = nil, false
		return nil
	})
}

func goneCall(s *Server, r *Request, call *master.Call) error {
	id := call.GetMarkAgentGone().GetAgentId().GetValue()
	a := s.look(r).find(id)
	switch {
	case a == nil:
		return codec.Refuse(http.StatusNotFound, "No agent found with ID %s: GET_AGENTS lists those that are there", id)
	case a.Spec.Gone:
		return codec.Refuse(http.StatusConflict, "Agent %s is already being transitioned to gone", id)
	}
	return r.changeAgent(a.Name, func(a *mesos.Agent) error {
		a.Spec.Gone = true
		return nil
	})
}
