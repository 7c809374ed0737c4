package executor

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	mesosexecutor "trireme/internal/mesos/v1/executor"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/wire"
)

// callMax bounds a call of an executor, in bytes.
const callMax = recordMax

// patience is how long an executor may take to read an event, eventsMax how many may wait for
// it; then it has to subscribe again.
const (
	patience  = time.Minute
	eventsMax = 4096
)

// subscriber is the stream of an executor.
type subscriber struct {
	events chan *mesosexecutor.Event
	gone   chan struct{} // closed: the stream ends
	left   chan struct{} // closed: it has
	beaten time.Time     // when the last heartbeat went out
}

func (s *subscriber) close() { close(s.gone) }

// send queues an event for an executor that listens. One that does not keep up is cut off: it
// subscribes again.
func (e *executor) send(event *mesosexecutor.Event) {
	if e.stream == nil {
		return
	}
	select {
	case e.stream.events <- event:
	default:
		e.stream.close()
		e.stream = nil
		e.silentSince = time.Now()
	}
}

// ServeHTTP serves POST /api/v1/executor.
func (x *Executors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := x.serve(w, r); err != nil {
		codec.RefusalOf(err).Write(w)
	}
}

func (x *Executors) serve(w http.ResponseWriter, r *http.Request) error {
	call := &mesosexecutor.Call{}
	if err := codec.Decode(r, call, callMax); err != nil {
		return err
	}
	if err := check(call); err != nil {
		return err
	}
	if call.GetType() == mesosexecutor.Call_SUBSCRIBE {
		return x.subscribe(w, r, call)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	e, err := x.callerLocked(r, call)
	if err != nil {
		return err
	}
	if e.stream == nil {
		return codec.Refuse(http.StatusForbidden, "Executor is not subscribed")
	}
	switch call.GetType() {
	case mesosexecutor.Call_UPDATE:
		err = x.updatedLocked(e, call.GetUpdate().GetStatus())
	case mesosexecutor.Call_MESSAGE:
		x.cfg.Session().ReportMessage(&wire.ExecutorMessage{Framework: e.framework, Executor: e.id, Agent: e.agent, Data: call.GetMessage().GetData()})
	}
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
	}
	return err
}

// check says what is wrong with a call (Mesos, executor/validation.cpp).
func check(call *mesosexecutor.Call) error {
	if missing := codec.Missing(call); len(missing) > 0 {
		return codec.NotValid(call, "Not initialized: "+missing[0])
	}
	if call.Type == nil {
		return codec.NotValid(call, "Expecting 'type' to be present")
	}
	switch call.GetType() {
	case mesosexecutor.Call_SUBSCRIBE:
		if call.Subscribe == nil {
			return codec.NotValid(call, "Expecting 'subscribe' to be present")
		}
	case mesosexecutor.Call_UPDATE:
		return checkUpdate(call)
	case mesosexecutor.Call_MESSAGE:
		if call.Message == nil {
			return codec.NotValid(call, "Expecting 'message' to be present")
		}
	case mesosexecutor.Call_HEARTBEAT:
	default:
		return codec.Refuse(http.StatusNotImplemented, "Received 'UNKNOWN' call")
	}
	return nil
}

func checkUpdate(call *mesosexecutor.Call) error {
	if call.Update == nil {
		return codec.NotValid(call, "Expecting 'update' to be present")
	}
	s := call.GetUpdate().GetStatus()
	const uuidBytes = 16
	switch {
	case len(s.GetUuid()) == 0:
		return codec.NotValid(call, "Expecting 'uuid' to be present")
	case len(s.GetUuid()) != uuidBytes:
		return codec.NotValid(call, "Not a valid UUID")
	case s.ExecutorId != nil && s.GetExecutorId().GetValue() != call.GetExecutorId().GetValue():
		return codec.NotValid(call, "ExecutorID in Call: "+call.GetExecutorId().GetValue()+" does not match ExecutorID in TaskStatus: "+s.GetExecutorId().GetValue())
	case s.GetSource() != mesosv1.TaskStatus_SOURCE_EXECUTOR:
		return codec.NotValid(call, "Received Call from executor "+call.GetExecutorId().GetValue()+" with invalid source, expecting 'SOURCE_EXECUTOR'")
	case s.GetState() == mesosv1.TaskState_TASK_STAGING:
		return codec.NotValid(call, "Received TASK_STAGING from executor "+call.GetExecutorId().GetValue()+" which is not allowed")
	}
	return nil
}

// callerLocked returns the executor that the call is of.
func (x *Executors) callerLocked(r *http.Request, call *mesosexecutor.Call) (*executor, error) {
	framework, id := call.GetFrameworkId().GetValue(), call.GetExecutorId().GetValue()
	known := false
	for _, e := range x.all {
		if e.framework != framework {
			continue
		}
		if known = true; e.id != id || e.ended {
			continue
		}
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !x.owns(e, from.Addr().Unmap()) {
			return nil, codec.Refuse(http.StatusForbidden, "Executor %s does not call from its pod's address", id)
		}
		return e, nil
	}
	if !known {
		return nil, codec.Refuse(http.StatusBadRequest, "Framework cannot be found")
	}
	return nil, codec.Refuse(http.StatusBadRequest, "Executor cannot be found")
}

// owns reports whether processes of the executor call from the address.
func (x *Executors) owns(e *executor, from netip.Addr) bool {
	if slices.Contains(e.ips, from) {
		return true
	}
	return e.hostNetwork && (from.IsLoopback() || slices.Contains(x.cfg.NodeIPs, from))
}

// updatedLocked takes an update. One that came already is acknowledged again: the executor did
// not hear of it.
func (x *Executors) updatedLocked(e *executor, s *mesosv1.TaskStatus) error {
	t := x.tasks[object.Key{Namespace: e.framework, Name: s.GetTaskId().GetValue()}]
	if t == nil || t.order.PodUID != e.pod {
		e.acknowledge(s) // it is over, whatever the executor says of it
		return nil
	}
	if !t.has(s.GetUuid()) && !mesos.Terminal(t.state) {
		if err := x.updateLocked(t, x.filledLocked(e, s)); err != nil {
			return codec.Refuse(http.StatusServiceUnavailable, "the update cannot be kept: %v", err)
		}
	}
	e.acknowledge(s)
	return nil
}

func (e *executor) acknowledge(s *mesosv1.TaskStatus) {
	e.send(&mesosexecutor.Event{
		Type: mesosexecutor.Event_ACKNOWLEDGED.Enum(), Acknowledged: &mesosexecutor.Event_Acknowledged{TaskId: s.GetTaskId(), Uuid: s.GetUuid()},
	})
}

// subscribe streams events to an executor until it goes, or another of it comes.
func (x *Executors) subscribe(w http.ResponseWriter, r *http.Request, call *mesosexecutor.Call) error {
	media, err := codec.Accept(r.Header, "Accept")
	if err != nil {
		return err
	}
	x.mu.Lock()
	e, err := x.callerLocked(r, call)
	if err == nil && e.launchedFor == nil {
		err = codec.Refuse(http.StatusServiceUnavailable, "Agent has not finished recovery") // its first task is on its way
	}
	if err != nil {
		x.mu.Unlock()
		return err
	}
	stream, err := codec.Open(w, media, patience)
	if err != nil {
		x.mu.Unlock()
		return err
	}
	s := x.subscribeLocked(e, call.GetSubscribe())
	x.mu.Unlock()
	defer close(s.left)
	for {
		select {
		case event := <-s.events:
			err = stream.Send(event)
		case <-s.gone:
			return nil
		case <-r.Context().Done():
			err = r.Context().Err()
		}
		if err != nil {
			x.left(e, s)
			return nil // the executor has gone, or does not read
		}
	}
}

// subscribeLocked makes the executor listen, and tells it what waits for it.
func (x *Executors) subscribeLocked(e *executor, sub *mesosexecutor.Call_Subscribe) *subscriber {
	if e.stream != nil {
		e.stream.close()
	}
	s := &subscriber{events: make(chan *mesosexecutor.Event, eventsMax), gone: make(chan struct{}), left: make(chan struct{}), beaten: time.Now()}
	e.stream, e.subscribed, e.silentSince = s, true, time.Time{}
	e.send(&mesosexecutor.Event{Type: mesosexecutor.Event_SUBSCRIBED.Enum(), Subscribed: &mesosexecutor.Event_Subscribed{
		ExecutorInfo: x.executorInfo(e), FrameworkInfo: frameworkInfo(e), AgentInfo: x.cfg.Agent(e.agent), ContainerId: &mesosv1.ContainerID{Value: proto.String(string(e.pod))},
	}})
	for _, u := range sub.GetUnacknowledgedUpdates() {
		if err := x.updatedLocked(e, u.GetStatus()); err != nil {
			x.cfg.Log.Error("taking an update again", "executor", e.id, "err", err)
		}
	}
	got := map[string]bool{}
	for _, t := range sub.GetUnacknowledgedTasks() {
		got[t.GetTaskId().GetValue()] = true
	}
	all := x.ofLocked(e)
	for _, t := range all {
		if t.state == mesosv1.TaskState_TASK_STAGING && !got[t.id()] {
			t.launched = false // it was on its way when the stream broke
		}
		t.killed = false
	}
	for _, t := range all {
		x.launchLocked(e, t)
		x.killLocked(e, t)
	}
	if e.ending {
		e.send(&mesosexecutor.Event{Type: mesosexecutor.Event_SHUTDOWN.Enum()})
	}
	return s
}

// ofLocked returns the tasks of the executor by their ids.
func (x *Executors) ofLocked(e *executor) (all []*task) {
	for _, t := range x.tasks {
		if t.order.PodUID == e.pod {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *task) int { return strings.Compare(a.id(), b.id()) })
	return all
}

// left notes that an executor does not listen any more.
func (x *Executors) left(e *executor, s *subscriber) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.stream == s {
		e.stream = nil
	}
}

// executorInfo is what the executor is told of itself: all that is required is there.
func (x *Executors) executorInfo(e *executor) *mesosv1.ExecutorInfo {
	info := proto.Clone(e.info).(*mesosv1.ExecutorInfo)
	if info.FrameworkId == nil {
		info.FrameworkId = &mesosv1.FrameworkID{Value: &e.framework}
	}
	return info
}

func frameworkInfo(e *executor) *mesosv1.FrameworkInfo {
	info := proto.Clone(e.launchedFor).(*mesosv1.FrameworkInfo)
	info.Id = &mesosv1.FrameworkID{Value: &e.framework}
	return info
}

// Tasks returns the states of the tasks that the executor has which the pod is, by their ids.
func (x *Executors) Tasks(pod types.UID) map[string]mesosv1.TaskState {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := map[string]mesosv1.TaskState{}
	for _, t := range x.tasks {
		if t.order.PodUID == pod {
			out[t.id()] = t.state
		}
	}
	return out
}

// Message gives an executor of this node what its framework says to it; best effort.
func (x *Executors) Message(m *wire.ExecutorMessage) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.all {
		if e.framework == m.Framework && e.id == m.Executor && !e.ended {
			e.send(&mesosexecutor.Event{Type: mesosexecutor.Event_MESSAGE.Enum(), Message: &mesosexecutor.Event_Message{Data: m.Data}})
		}
	}
}
