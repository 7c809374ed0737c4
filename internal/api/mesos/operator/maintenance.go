package operator

import (
	"cmp"
	"net/http"
	"slices"

	"google.golang.org/protobuf/proto"

	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/allocator"
	"trireme/internal/mesos/v1/maintenance"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/object/mesos"
)

// A machine is one agent, for a node is one machine. Its mode:
//
//	up ──(a schedule names it)──► draining ──START──► down ──STOP──► up, out of the schedule

// schedule puts the windows together out of the agents' unavailabilities, in order of
// their starts.
func (v *view) schedule() *maintenance.Schedule {
	schedule := &maintenance.Schedule{Windows: []*maintenance.Window{}}
	for _, a := range v.agents {
		u := a.Spec.Unavailability.M
		if u == nil {
			continue
		}
		at := slices.IndexFunc(schedule.Windows, func(w *maintenance.Window) bool { return proto.Equal(w.Unavailability, u) })
		if at < 0 {
			at = len(schedule.Windows)
			schedule.Windows = append(schedule.Windows, &maintenance.Window{Unavailability: u})
		}
		w := schedule.Windows[at]
		w.MachineIds = append(w.MachineIds, a.machine())
	}
	slices.SortStableFunc(schedule.Windows, func(a, b *maintenance.Window) int {
		return cmp.Compare(a.GetUnavailability().GetStart().GetNanoseconds(), b.GetUnavailability().GetStart().GetNanoseconds())
	})
	return schedule
}

// status says which machines are draining, with what frameworks said to it, and which
// are down.
func (v *view) status() *maintenance.ClusterStatus {
	status := &maintenance.ClusterStatus{}
	for _, a := range v.agents {
		switch {
		case a.Spec.Down:
			status.DownMachines = append(status.DownMachines, a.machine())
		case a.Spec.Unavailability.M != nil:
			m := &maintenance.ClusterStatus_DrainingMachine{Id: a.machine()}
			for _, f := range v.frameworks {
				for _, o := range f.inverse {
					if o.Node == a.Name {
						m.Statuses = append(m.Statuses, answerTo(o))
					}
				}
			}
			status.DrainingMachines = append(status.DrainingMachines, m)
		}
	}
	return status
}

func answerTo(o *mesos.Offer) *allocator.InverseOfferStatus {
	said := allocator.InverseOfferStatus_UNKNOWN
	switch {
	case o.Accepted:
		said = allocator.InverseOfferStatus_ACCEPT
	case o.Refused:
		said = allocator.InverseOfferStatus_DECLINE
	}
	return &allocator.InverseOfferStatus{Status: &said, FrameworkId: &mesosv1.FrameworkID{Value: &o.Framework}, Timestamp: &mesosv1.TimeInfo{Nanoseconds: proto.Int64(o.Made.UnixNano())}}
}

func getMaintenanceSchedule(v *view, _ *master.Call, out *master.Response) error {
	out.Type, out.GetMaintenanceSchedule = master.Response_GET_MAINTENANCE_SCHEDULE.Enum(), &master.Response_GetMaintenanceSchedule{Schedule: v.schedule()}
	return nil
}

func getMaintenanceStatus(v *view, _ *master.Call, out *master.Response) error {
	out.Type, out.GetMaintenanceStatus = master.Response_GET_MAINTENANCE_STATUS.Enum(), &master.Response_GetMaintenanceStatus{Status: v.status()}
	return nil
}

func showSchedule(v *view, _ *http.Request) (any, error) { return raw(v.schedule()), nil }
func showStatus(v *view, _ *http.Request) (any, error)   { return raw(v.status()), nil }

// one returns the agent that a machine is.
func (v *view) one(m *mesosv1.MachineID) (*agent, error) {
	for _, a := range v.agents {
		if a.is(m) {
			return a, nil
		}
	}
	return nil, kind.New(kind.Invalid, "machine %s: is no agent of the cluster: GET_AGENTS lists their hostnames", machineText(m))
}

func machineText(m *mesosv1.MachineID) string {
	return "'" + m.GetHostname() + "' (" + m.GetIp() + ")"
}

// updateScheduleCall replaces the schedule. It is checked as a whole; the agents are
// then changed one by one.
func updateScheduleCall(s *Server, r *Request, call *master.Call) error {
	v := s.look(r)
	planned := map[string]*mesosv1.Unavailability{}
	for i, w := range call.GetUpdateMaintenanceSchedule().GetSchedule().GetWindows() {
		if len(w.GetMachineIds()) == 0 {
			return kind.New(kind.Invalid, "windows[%d].machine_ids: is empty: name the machines of the window", i)
		}
		if w.GetUnavailability().GetDuration().GetNanoseconds() < 0 {
			return kind.New(kind.Invalid, "windows[%d].unavailability.duration: is negative", i)
		}
		for _, m := range w.GetMachineIds() {
			a, err := v.one(m)
			if err != nil {
				return err
			}
			if planned[a.Name] != nil {
				return kind.New(kind.Invalid, "windows[%d].machine_ids: machine %s appears more than once in the schedule", i, machineText(m))
			}
			planned[a.Name] = w.GetUnavailability()
		}
	}
	for _, a := range v.agents {
		if a.Spec.Down && planned[a.Name] == nil {
			return kind.New(kind.Invalid, "windows: machine %s is down and cannot be taken out of the schedule: STOP_MAINTENANCE brings it up first", machineText(a.machine()))
		}
	}
	for _, a := range v.agents {
		want := planned[a.Name]
		if proto.Equal(a.Spec.Unavailability.M, want) {
			continue
		}
		err := r.changeAgent(a.Name, func(a *mesos.Agent) error {
			a.Spec.Unavailability.M = want
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func startMaintenanceCall(s *Server, r *Request, call *master.Call) error {
	return s.machines(r, call.GetStartMaintenance().GetMachines(), func(a *agent) string {
		if a.Spec.Down || a.Spec.Unavailability.M == nil {
			return "is not draining: put it into the schedule before it is brought down"
		}
		return ""
	}, func(a *mesos.Agent) {
		a.Spec.Down, a.Spec.Deactivated = true, true
	})
}

func stopMaintenanceCall(s *Server, r *Request, call *master.Call) error {
	return s.machines(r, call.GetStopMaintenance().GetMachines(), func(a *agent) string {
		if !a.Spec.Down {
			return "is not down"
		}
		return ""
	}, func(a *mesos.Agent) {
		a.Spec.Down, a.Spec.Deactivated, a.Spec.Drain = false, false, nil
		a.Spec.Unavailability.M = nil
	})
}

// machines changes all machines, or none where one cannot be.
func (s *Server) machines(r *Request, ids []*mesosv1.MachineID, fault func(*agent) string, change func(*mesos.Agent)) error {
	if len(ids) == 0 {
		return codec.Refuse(http.StatusBadRequest, "List of machines is empty")
	}
	v := s.look(r)
	var all []*agent
	for _, id := range ids {
		a, err := v.one(id)
		if err != nil {
			return err
		}
		if why := fault(a); why != "" {
			return kind.New(kind.Invalid, "machine %s %s", machineText(id), why)
		}
		if slices.Contains(all, a) {
			return kind.New(kind.Invalid, "machine %s appears more than once", machineText(id))
		}
		all = append(all, a)
	}
	for _, a := range all {
		err := r.changeAgent(a.Name, func(a *mesos.Agent) error {
			change(a)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
