package mesos

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/object/sandbox"
)

// unit is a pod as Mesos sees it: an executor and its tasks.
type unit struct {
	pod      *corev1.Pod
	place    sandbox.Place
	dir      string
	executor *mesosv1.ExecutorInfo
	custom   bool
	tasks    []*mesosv1.Task
}

// units returns what runs here and whoever asks may see, by executor.
func (r *request) units() ([]*unit, error) {
	var out []*unit
	for _, p := range r.s.cfg.Pods.Pods() {
		place, ok, err := sandbox.PlaceOf(p)
		if !ok || err != nil {
			continue
		}
		may, err := r.may(Right{Verb: "list", Namespace: p.Namespace})
		if err != nil {
			return nil, err
		}
		if may {
			out = append(out, r.s.unit(p, place))
		}
	}
	if len(out) == 0 { // nobody unknown is told that there is nothing
		if _, err := r.may(Right{Verb: "list"}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Server) unit(p *corev1.Pod, place sandbox.Place) *unit {
	u := &unit{pod: p, place: place}
	if dir, ok, err := s.cfg.Sandboxes.Dir(p); ok && err == nil {
		u.dir = dir
	}
	u.executor = &mesosv1.ExecutorInfo{ExecutorId: &mesosv1.ExecutorID{Value: &u.place.Executor}, Source: &u.place.Executor}
	if text := p.Annotations[mesos.ExecutorAnnotation]; text != "" {
		info := &mesosv1.ExecutorInfo{}
		if codec.ParseJSON([]byte(text), info) == nil {
			u.executor = info
		}
		u.custom = p.Annotations[mesos.TaskAnnotation] == ""
	}
	u.executor.FrameworkId = &mesosv1.FrameworkID{Value: &u.place.Framework}
	for i, info := range infos(p, u.custom) {
		u.tasks = append(u.tasks, u.task(info, containerFor(p, i)))
	}
	if u.custom {
		u.tasks = s.customTasks(u)
	} else if len(u.tasks) == 0 {
		id := &mesosv1.TaskID{Value: &u.place.Executor}
		u.tasks = append(u.tasks, u.task(&mesosv1.TaskInfo{Name: &u.place.Executor, TaskId: id}, containerFor(p, 0)))
	}
	return u
}

// infos returns the tasks that the pod was made for, as its annotation has them.
func infos(p *corev1.Pod, custom bool) (out []*mesosv1.TaskInfo) {
	text := p.Annotations[mesos.TaskAnnotation]
	if text == "" || custom {
		return nil
	}
	all := []json.RawMessage{json.RawMessage(text)}
	if strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &all) != nil {
		return nil
	}
	for _, one := range all {
		info := &mesosv1.TaskInfo{}
		if codec.ParseJSON(one, info) == nil {
			out = append(out, info)
		}
	}
	return out
}

func containerFor(p *corev1.Pod, i int) *corev1.ContainerStatus {
	if i >= len(p.Spec.Containers) {
		return nil
	}
	for at := range p.Status.ContainerStatuses {
		if st := &p.Status.ContainerStatuses[at]; st.Name == p.Spec.Containers[i].Name {
			return st
		}
	}
	return nil
}

func (u *unit) task(info *mesosv1.TaskInfo, st *corev1.ContainerStatus) *mesosv1.Task {
	state := stateOf(u.pod, st)
	t := &mesosv1.Task{
		Name: info.Name, TaskId: info.TaskId, FrameworkId: u.executor.FrameworkId, ExecutorId: u.executor.ExecutorId, AgentId: &mesosv1.AgentID{Value: &u.place.Agent},
		State: &state, Resources: info.Resources, Labels: info.Labels, Discovery: info.Discovery, Container: info.Container,
	}
	if info.Command != nil {
		t.User = info.Command.User
	}
	return t
}

// customTasks are what the executor has told of.
func (s *Server) customTasks(u *unit) (out []*mesosv1.Task) {
	for id, state := range s.cfg.Tasks(u.pod.UID) {
		t := u.task(&mesosv1.TaskInfo{Name: &id, TaskId: &mesosv1.TaskID{Value: &id}}, nil)
		t.State = state.Enum()
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *mesosv1.Task) int {
		return strings.Compare(a.GetTaskId().GetValue(), b.GetTaskId().GetValue())
	})
	return out
}

// stateOf returns the state of a task whose container stands so.
func stateOf(p *corev1.Pod, st *corev1.ContainerStatus) mesosv1.TaskState {
	switch {
	case st != nil && st.State.Running != nil && p.DeletionTimestamp != nil:
		return mesosv1.TaskState_TASK_KILLING
	case st != nil && st.State.Running != nil:
		return mesosv1.TaskState_TASK_RUNNING
	case st != nil && st.State.Terminated != nil && p.DeletionTimestamp != nil:
		return mesosv1.TaskState_TASK_KILLED
	case st != nil && st.State.Terminated != nil && st.State.Terminated.ExitCode == 0:
		return mesosv1.TaskState_TASK_FINISHED
	case st != nil && st.State.Terminated != nil, object.PodEnded(p):
		return mesosv1.TaskState_TASK_FAILED
	}
	return mesosv1.TaskState_TASK_STARTING
}

// framework is what is known here of one: its id, and its name where an executor says it.
func (u *unit) framework() *mesosv1.FrameworkInfo {
	return &mesosv1.FrameworkInfo{Id: u.executor.FrameworkId, Name: proto.String(u.place.Framework), User: proto.String("root")}
}

// statistics are what the pod may use and has used. All of its time counts as user time.
func (s *Server) statistics(u *unit) *mesosv1.ResourceStatistics {
	cpu, memory := s.cfg.Usage(u.pod)
	var cpus float64
	var limit int64
	for i := range u.pod.Spec.Containers {
		r := &u.pod.Spec.Containers[i].Resources
		q, ok := r.Limits[corev1.ResourceCPU]
		if !ok {
			q = r.Requests[corev1.ResourceCPU]
		}
		cpus += q.AsApproximateFloat64()
		m := r.Limits[corev1.ResourceMemory]
		limit += m.Value()
	}
	now := float64(time.Now().UnixMicro()) / 1e6
	return &mesosv1.ResourceStatistics{
		Timestamp: &now, CpusLimit: &cpus, CpusUserTimeSecs: proto.Float64(float64(cpu) / 1e9), CpusSystemTimeSecs: proto.Float64(0),
		MemLimitBytes: proto.Uint64(uint64(limit)), MemRssBytes: &memory, MemTotalBytes: &memory,
	}
}

// containerStatus is how the network of a unit stands.
func (u *unit) containerStatus() *mesosv1.ContainerStatus {
	st := &mesosv1.ContainerStatus{ContainerId: &mesosv1.ContainerID{Value: &u.place.Container}}
	for _, ip := range u.pod.Status.PodIPs {
		st.NetworkInfos = append(st.NetworkInfos, &mesosv1.NetworkInfo{IpAddresses: []*mesosv1.NetworkInfo_IPAddress{{IpAddress: proto.String(ip.IP)}}})
	}
	return st
}
