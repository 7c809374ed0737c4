package mesos

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/sandbox"
)

// Observer says what a task's statuses are told of beside its row.
type Observer struct {
	Now     time.Time
	Killing bool // its framework knows TASK_KILLING
}

// Follow returns the task with the statuses that its Pod shows and that it has not had yet,
// in order; the task itself where there are none. Nil stands for a Pod that is gone.
//
//	STAGING ─► STARTING ─► RUNNING ─► FINISHED, FAILED
//	                          │ ▲ healthy or not, what a check says
//	                          └─► KILLING ─► KILLED
//
// The same Pod shows the same statuses with the same uuids to whoever looks: a leader that
// takes over tells them again. Pods that ended show all that they went through.
func (o Observer) Follow(t *Task, pod *corev1.Pod) *Task {
	f := &follower{Observer: o, old: t, task: t, pod: pod}
	if Terminal(t.State) || t.Custom && len(t.Statuses) > 0 {
		return t // of what an executor has, its agent tells
	}
	if pod == nil {
		f.gone()
		return f.task
	}
	f.status = containerStatus(pod, t.Container)
	if t.Custom {
		f.launch()
	} else {
		f.steps()
	}
	return f.task
}

type follower struct {
	Observer
	old, task *Task
	pod       *corev1.Pod
	status    *corev1.ContainerStatus // nil: nothing is known
}

func containerStatus(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for i := range p.Status.ContainerStatuses {
		if p.Status.ContainerStatuses[i].Name == name {
			return &p.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// steps says what the Pod has been through.
func (f *follower) steps() {
	if f.pod.Spec.NodeName == "" {
		return // the scheduler decides in this very tick
	}
	if f.task.State == mesosv1.TaskState_TASK_STAGING && (f.pod.Status.StartTime != nil || f.status != nil || object.PodEnded(f.pod)) {
		f.tell(mesosv1.TaskState_TASK_STARTING, "", time.Time{}, nil)
	}
	started := f.started()
	if !started.IsZero() && (f.task.State == mesosv1.TaskState_TASK_STARTING || f.task.State == mesosv1.TaskState_TASK_STAGING) {
		f.tell(mesosv1.TaskState_TASK_RUNNING, "", started, nil)
	}
	if over := f.status != nil && f.status.State.Terminated != nil; over || object.PodEnded(f.pod) {
		f.end()
		return
	}
	if f.task.Kill != nil && f.Killing && f.task.State == mesosv1.TaskState_TASK_RUNNING {
		f.tell(mesosv1.TaskState_TASK_KILLING, "", time.Time{}, nil)
	}
	if f.launch(); Terminal(f.task.State) {
		return
	}
	if f.task.State == mesosv1.TaskState_TASK_RUNNING {
		f.health()
	}
}

// started returns when the container ran, zero where it has not.
func (f *follower) started() time.Time {
	switch s := f.status; {
	case s == nil:
	case s.State.Running != nil:
		return s.State.Running.StartedAt.Time
	case s.State.Terminated != nil && !s.State.Terminated.StartedAt.IsZero() && s.State.Terminated.ContainerID != "":
		return s.State.Terminated.StartedAt.Time
	}
	return time.Time{}
}

// hopeless are the reasons for which a container waits in vain: Mesos does not try again.
var hopeless = map[string]bool{
	"ErrImagePull": true, "ImagePullBackOff": true, "InvalidImageName": true, "ErrImageNeverPull": true,
	"CreateContainerConfigError": true, "CreateContainerError": true, "RunContainerError": true, sandbox.ReasonFetch: true,
}

// launch says that the container waits in vain.
func (f *follower) launch() {
	w := f.waits()
	if w == nil {
		return
	}
	f.tell(mesosv1.TaskState_TASK_FAILED, "Failed to launch container: "+w.Reason+": "+w.Message, time.Time{}, func(s *mesosv1.TaskStatus) {
		s.Source, s.Reason = mesosv1.TaskStatus_SOURCE_AGENT.Enum(), mesosv1.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED.Enum()
	})
}

func (f *follower) waits() *corev1.ContainerStateWaiting {
	if f.status == nil || f.status.State.Waiting == nil || !hopeless[f.status.State.Waiting.Reason] {
		return nil
	}
	return f.status.State.Waiting
}

// health says whether the container is well, where the task wants to know.
func (f *follower) health() {
	info := f.task.Info
	last := f.last()
	switch ready := f.status != nil && f.status.Ready; {
	case info.GetHealthCheck() != nil && (ready != last.GetHealthy() && (ready || last.Healthy != nil)):
		f.tell(mesosv1.TaskState_TASK_RUNNING, "", f.turned(), func(s *mesosv1.TaskStatus) {
			s.Healthy, s.Reason = &ready, mesosv1.TaskStatus_REASON_TASK_HEALTH_CHECK_STATUS_UPDATED.Enum()
		})
	case info.GetCheck() != nil && (last.CheckStatus == nil && ready || last.CheckStatus != nil && passed(last.CheckStatus) != ready):
		f.tell(mesosv1.TaskState_TASK_RUNNING, "", f.turned(), func(s *mesosv1.TaskStatus) {
			s.CheckStatus, s.Reason = checkStatus(info.GetCheck(), ready), mesosv1.TaskStatus_REASON_TASK_CHECK_STATUS_UPDATED.Enum()
		})
	}
}

// last returns the status that the task had last.
func (f *follower) last() *mesosv1.TaskStatus {
	if n := len(f.task.Statuses); n > 0 {
		return f.task.Statuses[n-1]
	}
	return &mesosv1.TaskStatus{}
}

// turned returns when the Pod became ready, or was so no longer.
func (f *follower) turned() time.Time {
	if c := object.PodCondition(f.pod, corev1.ContainersReady); c != nil {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

// checkStatus is what a check said: of commands and of HTTP only whether it was well is known.
func checkStatus(k *mesosv1.CheckInfo, ready bool) *mesosv1.CheckStatusInfo {
	s := &mesosv1.CheckStatusInfo{Type: k.Type}
	switch k.GetType() {
	case mesosv1.CheckInfo_COMMAND:
		code := int32(1)
		if ready {
			code = 0
		}
		s.Command = &mesosv1.CheckStatusInfo_Command{ExitCode: &code}
	case mesosv1.CheckInfo_HTTP:
		code := uint32(503)
		if ready {
			code = 200
		}
		s.Http = &mesosv1.CheckStatusInfo_Http{StatusCode: &code}
	default:
		s.Tcp = &mesosv1.CheckStatusInfo_Tcp{Succeeded: &ready}
	}
	return s
}

func passed(s *mesosv1.CheckStatusInfo) bool {
	return s.GetTcp().GetSucceeded() || s.GetHttp().GetStatusCode() == 200 || s.GetCommand() != nil && s.GetCommand().GetExitCode() == 0
}

// end says how the container ended.
func (f *follower) end() {
	var t *corev1.ContainerStateTerminated
	if f.status != nil {
		t = f.status.State.Terminated
	}
	state, message, reason, source := f.cause(t)
	at := time.Time{}
	if t != nil {
		at = t.FinishedAt.Time
	}
	f.tell(state, message, at, func(s *mesosv1.TaskStatus) {
		s.Source, s.Reason = source.Enum(), reason
		if state == mesosv1.TaskState_TASK_KILLED && f.task.Kill == nil && f.task.Info.GetHealthCheck() != nil {
			s.Healthy = new(bool) // nobody else killed it
		}
		if name := limited[s.GetReason()]; name != "" && reason != nil {
			s.Limitation = &mesosv1.TaskResourceLimitation{}
			for _, r := range f.task.Info.GetResources() {
				if r.GetName() == name {
					s.Limitation.Resources = append(s.Limitation.Resources, r)
				}
			}
		}
	})
}

// limited are the resources of which a task had too little.
var limited = map[mesosv1.TaskStatus_Reason]string{
	mesosv1.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY: resource.Mem,
	mesosv1.TaskStatus_REASON_CONTAINER_LIMITATION_DISK:   resource.Disk,
}

// cause returns what the end of a container means. t is nil where none ran.
func (f *follower) cause(t *corev1.ContainerStateTerminated) (state mesosv1.TaskState, message string, reason *mesosv1.TaskStatus_Reason, by mesosv1.TaskStatus_Source) {
	executor, agent := mesosv1.TaskStatus_SOURCE_EXECUTOR, mesosv1.TaskStatus_SOURCE_AGENT
	failed := mesosv1.TaskState_TASK_FAILED
	kill := f.task.Kill
	switch why := f.pod.Status.Reason; {
	case kill != nil && kill.By != mesosv1.TaskStatus_SOURCE_EXECUTOR && kill.Cause != 0:
		return mesosv1.TaskState_TASK_KILLED, exit(t), kill.Cause.Enum(), agent
	case kill != nil:
		return mesosv1.TaskState_TASK_KILLED, exit(t), nil, executor
	case why == "DeadlineExceeded":
		return failed, "Max completion time reached: " + f.pod.Status.Message, mesosv1.TaskStatus_REASON_MAX_COMPLETION_TIME_REACHED.Enum(), executor
	case why == "Evicted" && strings.Contains(f.pod.Status.Message, "ephemeral"):
		return failed, f.pod.Status.Message, mesosv1.TaskStatus_REASON_CONTAINER_LIMITATION_DISK.Enum(), agent
	case why == "Evicted" || why == "Preempting" || object.PodCondition(f.pod, corev1.DisruptionTarget) != nil:
		return failed, evicted(f.pod), mesosv1.TaskStatus_REASON_CONTAINER_PREEMPTED.Enum(), agent
	case t == nil:
		return failed, "Failed to launch container: " + strings.TrimSuffix(why+": "+f.pod.Status.Message, ": "), mesosv1.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED.Enum(), agent
	case t.Reason == "OOMKilled":
		return failed, "Memory limit exceeded: " + exit(t), mesosv1.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY.Enum(), agent
	case t.ExitCode == 0:
		return mesosv1.TaskState_TASK_FINISHED, exit(t), nil, executor
	case t.Reason == "ContainerCannotRun" || t.Reason == "StartError":
		return failed, "Failed to launch container: " + t.Message, mesosv1.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED.Enum(), agent
	case f.pod.DeletionTimestamp != nil, f.task.Info.GetHealthCheck() != nil && f.last().Healthy != nil && !f.last().GetHealthy():
		return mesosv1.TaskState_TASK_KILLED, exit(t), nil, executor
	}
	return failed, exit(t), mesosv1.TaskStatus_REASON_COMMAND_EXECUTOR_FAILED.Enum(), executor
}

func evicted(p *corev1.Pod) string {
	if p.Status.Message != "" {
		return p.Status.Message
	}
	if c := object.PodCondition(p, corev1.DisruptionTarget); c != nil {
		return c.Message
	}
	return "the Pod was evicted"
}

// exit returns an exit status as Mesos says it.
func exit(t *corev1.ContainerStateTerminated) string {
	switch {
	case t == nil:
		return "Killed before it ran"
	case t.Signal != 0:
		return "Command terminated with signal " + signal(t.Signal)
	case t.ExitCode > 128 && t.ExitCode < 128+65:
		return "Command terminated with signal " + signal(t.ExitCode-128)
	}
	return fmt.Sprintf("Command exited with status %d", t.ExitCode)
}

func signal(n int32) string {
	name := syscall.Signal(n).String()
	if name == "" {
		return fmt.Sprint(n)
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

// gone says that the Pod is no more: nobody will tell how its container ended.
func (f *follower) gone() {
	kill := f.task.Kill
	if kill != nil {
		f.tell(mesosv1.TaskState_TASK_KILLED, "Killed", f.Now, func(s *mesosv1.TaskStatus) {
			s.Source = mesosv1.TaskStatus_SOURCE_AGENT.Enum()
			if kill.Cause != 0 {
				s.Reason = kill.Cause.Enum()
			}
		})
		return
	}
	f.tell(mesosv1.TaskState_TASK_FAILED, "The Pod of the task was deleted", f.Now, func(s *mesosv1.TaskStatus) {
		s.Source, s.Reason = mesosv1.TaskStatus_SOURCE_AGENT.Enum(), mesosv1.TaskStatus_REASON_EXECUTOR_TERMINATED.Enum()
	})
}

// tell appends a status. at is when it became true; zero: about now.
func (f *follower) tell(state mesosv1.TaskState, message string, at time.Time, more func(*mesosv1.TaskStatus)) {
	s := f.task.Status(state, message, f.Now)
	s.Source = mesosv1.TaskStatus_SOURCE_EXECUTOR.Enum()
	if !at.IsZero() {
		s.Timestamp = Seconds(at)
	}
	s.ContainerStatus = f.container()
	if more != nil {
		more(s)
	}
	s.Uuid = Digest(string(f.task.PodUID), f.task.Container, state.String(), s.GetHealthy(), passed(s.CheckStatus), at.UnixNano())
	if f.task == f.old {
		f.task = f.old.Clone()
	}
	f.task.Append(s)
}

// container returns where the task runs.
func (f *follower) container() *mesosv1.ContainerStatus {
	id := &mesosv1.ContainerID{Value: proto.String(string(f.task.PodUID))}
	if f.task.Executor != nil {
		id = &mesosv1.ContainerID{Value: proto.String(f.task.Container), Parent: id}
	}
	c := &mesosv1.ContainerStatus{ContainerId: id}
	if f.pod == nil {
		return c
	}
	for _, ip := range f.pod.Status.PodIPs {
		protocol := mesosv1.NetworkInfo_IPv4
		if strings.Contains(ip.IP, ":") {
			protocol = mesosv1.NetworkInfo_IPv6
		}
		c.NetworkInfos = append(c.NetworkInfos, &mesosv1.NetworkInfo{IpAddresses: []*mesosv1.NetworkInfo_IPAddress{{Protocol: protocol.Enum(), IpAddress: proto.String(ip.IP)}}})
	}
	return c
}

// Status returns a status of the task without a uuid: who gets it does not acknowledge it.
func (t *Task) Status(state mesosv1.TaskState, message string, now time.Time) *mesosv1.TaskStatus {
	s := &mesosv1.TaskStatus{
		TaskId: &mesosv1.TaskID{Value: proto.String(t.Name)}, State: state.Enum(), AgentId: &mesosv1.AgentID{Value: proto.String(t.Agent)},
		ExecutorId: &mesosv1.ExecutorID{Value: proto.String(t.ExecutorID())}, Timestamp: Seconds(now), Source: mesosv1.TaskStatus_SOURCE_MASTER.Enum(),
	}
	if message != "" {
		s.Message = &message
	}
	return s
}

// Append makes s the task's latest status, which waits for its acknowledgement where it has a
// uuid.
func (t *Task) Append(s *mesosv1.TaskStatus) {
	t.State = s.GetState()
	if len(t.Statuses) >= StatusesMax {
		t.Statuses = append([]*mesosv1.TaskStatus(nil), t.Statuses[1:]...)
	}
	t.Statuses = append(t.Statuses, s)
	if len(s.GetUuid()) > 0 {
		t.Pending = append(t.Pending, s)
	}
}

// Seconds returns a time as statuses have it.
func Seconds(t time.Time) *float64 {
	s := math.Round(float64(t.UnixNano())/1e3) / 1e6
	return &s
}

// Digest returns a uuid (RFC 9562, version 8) that the parts determine.
func Digest(parts ...any) []byte {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%q", parts)))
	id := sum[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return id
}
