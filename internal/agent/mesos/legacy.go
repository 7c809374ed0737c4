package mesos

import (
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/mesos"
)

type fields = map[string]any

func showFlags(r *request) error {
	if _, err := r.may(Right{Verb: "list"}); err != nil {
		return err
	}
	writeJSON(r.w, fields{"flags": r.s.cfg.Flags})
	return nil
}

func showMetrics(r *request) error {
	all, err := r.metrics()
	if err == nil {
		writeJSON(r.w, all)
	}
	return err
}

// showStatistics is what mesos_exporter and marathon-autoscale read: what each executor uses.
func showStatistics(r *request) error {
	all, err := r.units()
	if err != nil {
		return err
	}
	out := []fields{}
	for _, u := range all {
		out = append(out, u.counted(r.s))
	}
	writeJSON(r.w, out)
	return nil
}

func (u *unit) counted(s *Server) fields {
	st := s.statistics(u)
	return fields{
		"executor_id": u.place.Executor, "executor_name": u.executor.GetName(), "framework_id": u.place.Framework, "source": u.executor.GetSource(),
		"statistics": fields{
			"timestamp": st.GetTimestamp(), "cpus_limit": st.GetCpusLimit(), "cpus_user_time_secs": st.GetCpusUserTimeSecs(), "cpus_system_time_secs": st.GetCpusSystemTimeSecs(),
			"mem_limit_bytes": st.GetMemLimitBytes(), "mem_rss_bytes": st.GetMemRssBytes(), "mem_total_bytes": st.GetMemTotalBytes(),
		},
	}
}

func showContainers(r *request) error {
	all, err := r.units()
	if err != nil {
		return err
	}
	out := []fields{}
	for _, u := range all {
		one := u.counted(r.s)
		one["container_id"] = u.place.Container
		ips := []fields{}
		for _, ip := range u.pod.Status.PodIPs {
			ips = append(ips, fields{"ip_addresses": []fields{{"ip_address": ip.IP}}})
		}
		one["status"] = fields{"container_id": fields{"value": u.place.Container}, "network_infos": ips}
		out = append(out, one)
	}
	writeJSON(r.w, out)
	return nil
}

// showState is the older form of everything.
func showState(r *request) error {
	all, err := r.units()
	if err != nil {
		return err
	}
	info := r.s.cfg.Agent()
	out := r.s.version()
	out["id"], out["hostname"], out["pid"] = info.GetId().GetValue(), info.GetHostname(), r.s.cfg.Flags["pid"]
	out["start_time"], out["flags"], out["log_dir"] = float64(r.s.started.UnixMicro())/1e6, r.s.cfg.Flags, ""
	attributes := fields{}
	for _, a := range info.GetAttributes() {
		attributes[a.GetName()] = a.GetText().GetValue()
	}
	out["attributes"], out["completed_frameworks"] = attributes, []any{}
	byID, order := map[string]fields{}, []string{}
	for _, u := range all {
		f := byID[u.place.Framework]
		if f == nil {
			f = fields{"id": u.place.Framework, "name": u.place.Framework, "executors": []any{}, "completed_executors": []any{}}
			byID[u.place.Framework], order = f, append(order, u.place.Framework)
		}
		f["executors"] = append(f["executors"].([]any), u.legacy())
	}
	list := []any{}
	for _, id := range order {
		list = append(list, byID[id])
	}
	out["frameworks"] = list
	writeJSON(r.w, out)
	return nil
}

func (u *unit) legacy() fields {
	running, queued, over := []any{}, []any{}, []any{}
	for _, t := range u.tasks {
		one := fields{
			"id": t.GetTaskId().GetValue(), "name": t.GetName(), "framework_id": u.place.Framework, "executor_id": u.place.Executor, "slave_id": u.place.Agent,
			"state": t.GetState().String(), "resources": amounts(t.GetResources()), "statuses": []any{},
		}
		switch {
		case mesos.Terminal(t.GetState()):
			over = append(over, one)
		case t.GetState() == mesosv1.TaskState_TASK_STAGING:
			queued = append(queued, one)
		default:
			running = append(running, one)
		}
	}
	return fields{
		"id": u.place.Executor, "name": u.executor.GetName(), "source": u.executor.GetSource(), "container": u.place.Container, "directory": u.dir,
		"resources": amounts(u.executor.GetResources()), "tasks": running, "queued_tasks": queued, "completed_tasks": over,
	}
}

// amounts are resources as the older endpoints have them.
func amounts(list []*mesosv1.Resource) fields {
	out := fields{"cpus": 0.0, "mem": 0.0, "disk": 0.0, "gpus": 0.0}
	for _, r := range list {
		if r.GetType() == mesosv1.Value_SCALAR {
			have, _ := out[r.GetName()].(float64)
			out[r.GetName()] = have + r.GetScalar().GetValue()
		}
	}
	return out
}
