package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	mesosexecutor "trireme/internal/mesos/v1/executor"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/wire"
)

// Session is what is said to the manager; see wire.Client.
type Session interface {
	ReportTask(task object.Key, u *wire.TaskUpdates)
	ReportMessage(*wire.ExecutorMessage)
}

// Config is what Executors need. All is required.
type Config struct {
	Dir     string // of the tasks' files
	Session func() Session
	Agent   func(id string) *mesosv1.AgentInfo          // this node, whose agent has the id
	NodeIPs []netip.Addr                                // that processes of the node call from
	Has     func(types.UID) bool                        // whether the node has the pod
	End     func(uid types.UID, reason, message string) // ends a pod: it has failed
	Log     *slog.Logger
}

// The reasons of pods of executors that failed.
const (
	ReasonSilent = "ExecutorRegistrationTimeout" // it did not subscribe in time
	ReasonAway   = "ExecutorReregistrationTimeout"
)

// The pace of executors (Mesos, --executor_registration_timeout, the most that
// --executor_reregistration_timeout may be, DEFAULT_EXECUTOR_HEARTBEAT_INTERVAL).
const (
	registerTimeout   = time.Minute
	reregisterTimeout = 15 * time.Second
	heartbeatEvery    = 30 * time.Minute
	tickEvery         = time.Second
)

// Executors are the node's executors of frameworks' own.
type Executors struct {
	cfg Config

	mu    sync.Mutex
	all   map[types.UID]*executor // by their pods
	tasks map[object.Key]*task    // that are not over
}

// executor is one of them.
type executor struct {
	framework, id string
	pod           types.UID
	ips           []netip.Addr
	hostNetwork   bool
	info          *mesosv1.ExecutorInfo
	launchedFor   *mesosv1.FrameworkInfo
	agent         string
	stream        *subscriber // nil: it is not subscribed
	subscribed    bool        // it was, at least once
	found         bool        // it runs since before the agent did
	silentSince   time.Time   // since when it runs and is not subscribed; zero: it does not run, or is
	since         time.Time   // when it was first heard of
	ending        bool        // it was told to end
	ended         bool
	gone          bool // nothing is left of its pod
}

// New returns those whose tasks an agent before this one has noted.
func New(cfg Config) (*Executors, error) {
	x := &Executors{cfg: cfg, all: map[types.UID]*executor{}, tasks: map[object.Key]*task{}}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the tasks of executors: %w", err)
	}
	for _, e := range entries {
		t, err := openTask(filepath.Join(cfg.Dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if t == nil {
			continue
		}
		x.tasks[object.KeyOf(t.order)] = t
		x.executorLocked(t.order).found = true
	}
	return x, nil
}

// executorLocked returns the executor of the order.
func (x *Executors) executorLocked(o *mesos.Order) *executor {
	e := x.all[o.PodUID]
	if e == nil {
		e = &executor{framework: o.Namespace, id: o.Executor.M.GetExecutorId().GetValue(), pod: o.PodUID, since: time.Now()}
		x.all[o.PodUID] = e
	}
	e.agent, e.info, e.launchedFor = o.Agent, o.Executor.M, o.Framework.M
	return e
}

// Run tells the manager what waits, and keeps the time of executors until ctx ends.
func (x *Executors) Run(ctx context.Context) error {
	x.mu.Lock()
	for _, t := range x.tasks {
		x.reportLocked(t)
	}
	x.mu.Unlock()
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			x.tick(now)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Order takes a task that the manager wants here, or what changed of it.
func (x *Executors) Order(o *mesos.Order) {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := object.KeyOf(o)
	t := x.tasks[key]
	if t != nil && t.order.PodUID != o.PodUID {
		return // of another of its name, which is not over yet
	}
	if t == nil {
		if len(o.Known) > 0 {
			return // it is over: its last update was acknowledged
		}
		j, err := newJournal(x.cfg.Dir, o)
		if err != nil {
			x.cfg.Log.Error("taking a task", "task", key.String(), "err", err)
			return
		}
		t = &task{order: o, journal: j, state: mesosv1.TaskState_TASK_STAGING}
		x.tasks[key] = t
		x.reportLocked(t)
	}
	t.order = o
	e := x.executorLocked(o)
	x.acknowledgeLocked(key, t)
	if x.tasks[key] != t {
		return
	}
	if e.ended {
		x.failLocked(e, t, endOf{mesosv1.TaskStatus_REASON_EXECUTOR_TERMINATED, "Executor terminated"})
		return
	}
	x.launchLocked(e, t)
	x.killLocked(e, t)
}

// acknowledgeLocked takes away the updates that the framework has acknowledged: the manager
// knows them, and they wait no more.
func (x *Executors) acknowledgeLocked(key object.Key, t *task) {
	acked := false
	for _, uuid := range t.order.Known {
		if contains(t.order.Waiting, uuid) || !t.acked(uuid) {
			continue
		}
		acked = true
		if err := t.journal.append(recordAcked, uuid); err != nil {
			x.cfg.Log.Error("noting an acknowledgement", "task", key.String(), "err", err)
		}
	}
	switch {
	case t.over():
		x.forgetLocked(key, t)
	case acked:
		x.reportLocked(t)
	}
}

func contains(list [][]byte, uuid []byte) bool {
	for _, one := range list {
		if bytes.Equal(one, uuid) {
			return true
		}
	}
	return false
}

func (x *Executors) forgetLocked(key object.Key, t *task) {
	if err := t.journal.remove(); err != nil {
		x.cfg.Log.Error("forgetting a task", "task", key.String(), "err", err)
	}
	delete(x.tasks, key)
	x.cfg.Session().ReportTask(key, nil)
	x.dropLocked(t.order.PodUID)
}

// dropLocked forgets an executor that has ended and of which there is nothing left to say.
func (x *Executors) dropLocked(pod types.UID) {
	e := x.all[pod]
	if e == nil || !e.ended || !e.gone {
		return
	}
	for _, t := range x.tasks {
		if t.order.PodUID == pod {
			return
		}
	}
	delete(x.all, pod)
}

// Cancel says that the manager knows nothing of a task any more: its framework is gone, or the
// task never was.
func (x *Executors) Cancel(key object.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if t := x.tasks[key]; t != nil {
		if e := x.all[t.order.PodUID]; e != nil && !e.ended && t.launched && !mesos.Terminal(t.state) {
			e.send(killEvent(t))
		}
		x.forgetLocked(key, t)
	}
}

// launchLocked gives the task to its executor, if that listens and has not got it: with the
// rest of its group, once all of that is here.
func (x *Executors) launchLocked(e *executor, t *task) {
	group, whole := x.groupLocked(t)
	if e.stream == nil || t.launched || !whole || slices.ContainsFunc(group, func(one *task) bool { return one.order.Kill || mesos.Terminal(one.state) }) {
		return
	}
	var infos []*mesosv1.TaskInfo
	for _, one := range group {
		if err := one.journal.append(recordLaunched, nil); err != nil {
			x.cfg.Log.Error("launching a task", "task", one.id(), "err", err)
			return
		}
		infos = append(infos, one.order.Info.M)
	}
	for _, one := range group {
		one.launched, one.given = true, true
	}
	if len(t.order.Group) > 0 {
		e.send(&mesosexecutor.Event{Type: mesosexecutor.Event_LAUNCH_GROUP.Enum(), LaunchGroup: &mesosexecutor.Event_LaunchGroup{TaskGroup: &mesosv1.TaskGroupInfo{Tasks: infos}}})
		return
	}
	e.send(&mesosexecutor.Event{Type: mesosexecutor.Event_LAUNCH.Enum(), Launch: &mesosexecutor.Event_Launch{Task: infos[0]}})
}

// groupLocked returns the tasks that the executor is given together with the task, of its
// group those that it has not got; whole: none of them is still to come.
func (x *Executors) groupLocked(t *task) (group []*task, whole bool) {
	if len(t.order.Group) == 0 {
		return []*task{t}, true
	}
	whole = true
	for _, id := range t.order.Group {
		one := x.tasks[object.Key{Namespace: t.order.Namespace, Name: id}]
		if one == nil || one.order.PodUID != t.order.PodUID {
			whole = t.given // it was here, and is over
		} else if !one.launched {
			group = append(group, one)
		}
	}
	return group, whole
}

// killLocked tells the executor to end the task; one that it never got is killed at once, and
// so is the rest of its group.
func (x *Executors) killLocked(e *executor, t *task) {
	switch {
	case t.launched && (!t.order.Kill || mesos.Terminal(t.state)):
	case !t.launched:
		group, _ := x.groupLocked(t)
		if !slices.ContainsFunc(group, func(one *task) bool { return one.order.Kill || mesos.Terminal(one.state) }) {
			return
		}
		for _, one := range group {
			if mesos.Terminal(one.state) {
				continue
			}
			s := x.statusLocked(e, one, mesosv1.TaskState_TASK_KILLED, "Task killed before it was delivered to its executor")
			s.Reason = mesosv1.TaskStatus_REASON_TASK_KILLED_DURING_LAUNCH.Enum()
			x.updateLocked(one, s)
		}
	case !t.killed && e.stream != nil:
		t.killed = true
		e.send(killEvent(t))
	}
}

func killEvent(t *task) *mesosexecutor.Event {
	k := &mesosexecutor.Event_Kill{TaskId: t.order.Info.M.GetTaskId()}
	if g := t.order.Grace; g != nil {
		k.KillPolicy = &mesosv1.KillPolicy{GracePeriod: &mesosv1.DurationInfo{Nanoseconds: proto.Int64(int64(*g))}}
	}
	return &mesosexecutor.Event{Type: mesosexecutor.Event_KILL.Enum(), Kill: k}
}

// statusLocked returns an update that the agent itself makes.
func (x *Executors) statusLocked(e *executor, t *task, state mesosv1.TaskState, message string) *mesosv1.TaskStatus {
	return x.filledLocked(e, &mesosv1.TaskStatus{
		TaskId: t.order.Info.M.GetTaskId(), State: state.Enum(), Message: &message, Source: mesosv1.TaskStatus_SOURCE_AGENT.Enum(), Uuid: newUUID(),
	})
}

// filledLocked adds what the agent knows to an update.
func (x *Executors) filledLocked(e *executor, s *mesosv1.TaskStatus) *mesosv1.TaskStatus {
	s.AgentId = &mesosv1.AgentID{Value: &e.agent}
	s.ExecutorId = &mesosv1.ExecutorID{Value: &e.id}
	if s.Timestamp == nil {
		s.Timestamp = proto.Float64(float64(time.Now().UnixMicro()) / 1e6)
	}
	if s.ContainerStatus == nil {
		s.ContainerStatus = &mesosv1.ContainerStatus{}
	}
	if s.ContainerStatus.ContainerId == nil {
		s.ContainerStatus.ContainerId = &mesosv1.ContainerID{Value: proto.String(string(e.pod))}
	}
	if len(s.ContainerStatus.NetworkInfos) == 0 {
		for _, ip := range e.ips {
			s.ContainerStatus.NetworkInfos = append(s.ContainerStatus.NetworkInfos, &mesosv1.NetworkInfo{
				IpAddresses: []*mesosv1.NetworkInfo_IPAddress{{IpAddress: proto.String(ip.String()), Protocol: protocolOf(ip)}},
			})
		}
	}
	return s
}

func protocolOf(ip netip.Addr) *mesosv1.NetworkInfo_Protocol {
	if ip.Is4() {
		return mesosv1.NetworkInfo_IPv4.Enum()
	}
	return mesosv1.NetworkInfo_IPv6.Enum()
}

// updateLocked notes an update of a task, and tells the manager.
func (x *Executors) updateLocked(t *task, s *mesosv1.TaskStatus) error {
	b, err := proto.Marshal(s)
	if err == nil {
		err = t.journal.append(recordUpdate, b)
	}
	if err != nil {
		x.cfg.Log.Error("noting an update", "task", t.id(), "err", err)
		return err
	}
	t.add(s)
	x.reportLocked(t)
	return nil
}

// reportLocked tells the manager what waits of a task.
func (x *Executors) reportLocked(t *task) {
	order, err := t.order.Marshal()
	if err != nil {
		x.cfg.Log.Error("telling of a task", "task", t.id(), "err", err)
		return
	}
	u := &wire.TaskUpdates{Order: order, Last: encoded(t.last)}
	for _, s := range t.updates {
		u.Updates = append(u.Updates, encoded(s))
	}
	x.cfg.Session().ReportTask(object.KeyOf(t.order), u)
}

// encoded returns the protobuf of a status; it was decoded, or made here, so it has one.
func encoded(s *mesosv1.TaskStatus) []byte {
	if s == nil {
		return nil
	}
	b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(s)
	if err != nil {
		return nil
	}
	return b
}

// Observe takes what the pod is and how it stands; of pods that are no executor's it takes
// nothing.
func (x *Executors) Observe(pod *corev1.Pod, st *corev1.PodStatus) {
	text := pod.Annotations[mesos.ExecutorAnnotation]
	if text == "" || pod.Annotations[mesos.TaskAnnotation] != "" {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.all[pod.UID]
	if e == nil {
		info := &mesosv1.ExecutorInfo{}
		if err := codec.ParseJSON([]byte(text), info); err != nil {
			x.cfg.Log.Warn("reading an executor", "pod", object.KeyOf(pod).String(), "err", err)
			return
		}
		e = &executor{framework: pod.Annotations[mesos.FrameworkAnnotation], id: info.GetExecutorId().GetValue(), pod: pod.UID, info: info, since: time.Now()}
		e.ended = object.PodEnded(&corev1.Pod{Status: *st}) // it has no tasks that are not over
		x.all[pod.UID] = e
	}
	e.hostNetwork, e.ips = pod.Spec.HostNetwork, nil
	for _, ip := range st.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			e.ips = append(e.ips, a)
		}
	}
	if pod.DeletionTimestamp != nil && !e.ending {
		e.ending = true
		e.send(&mesosexecutor.Event{Type: mesosexecutor.Event_SHUTDOWN.Enum()})
	}
	if object.PodEnded(&corev1.Pod{Status: *st}) {
		x.endLocked(e, endOfPod(st), exitCode(st))
		return
	}
	if runs(st) && e.stream == nil && e.silentSince.IsZero() && !e.subscribed {
		e.silentSince = time.Now()
	}
}

func runs(st *corev1.PodStatus) bool {
	return len(st.ContainerStatuses) > 0 && st.ContainerStatuses[0].State.Running != nil
}

func exitCode(st *corev1.PodStatus) int32 {
	if len(st.ContainerStatuses) > 0 && st.ContainerStatuses[0].State.Terminated != nil {
		return st.ContainerStatuses[0].State.Terminated.ExitCode
	}
	return 0
}

// Gone says that nothing of a pod is left on the node.
func (x *Executors) Gone(pod types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.all[pod]; e != nil {
		e.gone = true
		x.endLocked(e, endOf{mesosv1.TaskStatus_REASON_EXECUTOR_TERMINATED, "Executor terminated"}, 0)
		x.dropLocked(pod)
	}
}

// endLocked fails the tasks of an executor that has ended.
func (x *Executors) endLocked(e *executor, why endOf, code int32) {
	if e.ended {
		return
	}
	e.ended = true
	if e.stream != nil {
		e.stream.close()
		e.stream = nil
	}
	x.cfg.Session().ReportMessage(&wire.ExecutorMessage{Framework: e.framework, Executor: e.id, Agent: e.agent, Ended: true, Status: waitStatus(code)})
	for _, t := range x.tasks {
		if t.order.PodUID == e.pod {
			x.failLocked(e, t, why)
		}
	}
	x.dropLocked(e.pod)
}

func (x *Executors) failLocked(e *executor, t *task, why endOf) {
	if mesos.Terminal(t.state) {
		return
	}
	s := x.statusLocked(e, t, mesosv1.TaskState_TASK_FAILED, why.message)
	s.Reason = why.reason.Enum()
	x.updateLocked(t, s)
}
