package operator

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const (
	// subscribersMax is how many streams there are at most: one more ends the oldest
	// (Apache Mesos, --max_operator_event_stream_subscribers).
	subscribersMax = 1000

	heartbeat = 15 * time.Second
	// patience is how long a subscriber may take nothing.
	patience = time.Minute
	// waiting is how many events wait for a subscriber; then reading the history waits,
	// and the history does not wait for ever.
	waiting = 256
)

// subscriber is one stream.
type subscriber struct{ end context.CancelFunc }

func (s *Server) enter(end context.CancelFunc) *subscriber {
	one := &subscriber{end}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers = append(s.subscribers, one)
	for len(s.subscribers) > subscribersMax {
		s.subscribers[0].end()
		s.subscribers = s.subscribers[1:]
	}
	return one
}

func (s *Server) leave(one *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers = slices.DeleteFunc(s.subscribers, func(have *subscriber) bool { return have == one })
}

// subscribe answers with the state and then with what changes in it. A stream that
// falls too far behind the history ends: its client subscribes again.
func (s *Server) subscribe(r *Request) error {
	media, err := codec.Accept(r.Header, "Accept")
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(r.Context())
	defer end()
	one := s.enter(end)
	defer s.leave(one)
	stream, err := codec.Open(r.Out, media, patience)
	if err != nil {
		return nil // the client has gone
	}
	v := s.look(r)
	g, ctx := errgroup.WithContext(ctx)
	events := make(chan *master.Event, waiting)
	for _, follow := range []func(context.Context, *follower) error{followTasks, followObjects} {
		g.Go(func() error { return follow(ctx, &follower{v, s.cfg.Store, events}) })
	}
	g.Go(func() error { return send(ctx, stream, v, events) })
	_ = g.Wait() // who has ended it knows why
	return nil
}

// send sends the state, then the events, and between them heartbeats.
func send(ctx context.Context, stream *codec.Stream, v *view, events <-chan *master.Event) error {
	subscribed := &master.Event{Type: master.Event_SUBSCRIBED.Enum(), Subscribed: &master.Event_Subscribed{GetState: v.state(), HeartbeatIntervalSeconds: proto.Float64(heartbeat.Seconds())}}
	beat := &master.Event{Type: master.Event_HEARTBEAT.Enum()}
	for _, e := range []*master.Event{subscribed, beat} {
		if err := stream.Send(e); err != nil {
			return err
		}
	}
	beats := time.NewTicker(heartbeat)
	defer beats.Stop()
	for {
		next := beat
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beats.C:
		case next = <-events:
		}
		if err := stream.Send(next); err != nil {
			return err
		}
	}
}

// follower turns the history after a view into events.
type follower struct {
	*view
	store *store.Store
	out   chan<- *master.Event
}

func (f *follower) say(ctx context.Context, e *master.Event) error {
	select {
	case f.out <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func followTasks(ctx context.Context, f *follower) error {
	for e, err := range f.store.Events(ctx, f.snap.TableRev(tables.MesosTasks), tables.MesosTasks) {
		if err != nil {
			return err
		}
		now, ok := e.Object().(*mesos.Task)
		if !ok || e.Type() == store.Deleted {
			continue
		}
		// Asked anew: a stream outlives changes of what its reader may see.
		if !f.Sees(tables.Pods, object.Key{Namespace: mesos.Namespace(now.Role)}) || !f.framework(now.Namespace) {
			continue
		}
		was, _ := e.Old().(*mesos.Task)
		if err := f.task(ctx, was, now); err != nil {
			return err
		}
	}
	return nil
}

// task tells of a task that is new, and of every status that is.
func (f *follower) task(ctx context.Context, was, now *mesos.Task) error {
	if was == nil {
		of, ok := tables.MesosFramework(f.store.Snapshot(), now.Namespace)
		if !ok {
			of = &mesos.Framework{}
		}
		return f.say(ctx, &master.Event{Type: master.Event_TASK_ADDED.Enum(), TaskAdded: &master.Event_TaskAdded{Task: taskMessage(now, of)}})
	}
	for _, status := range added(was.Statuses, now.Statuses) {
		err := f.say(ctx, &master.Event{Type: master.Event_TASK_UPDATED.Enum(), TaskUpdated: &master.Event_TaskUpdated{
			FrameworkId: &mesosv1.FrameworkID{Value: &now.Namespace}, Status: status, State: now.State.Enum(),
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// added are the statuses of now behind the last that was there before.
func added(was, now []*mesosv1.TaskStatus) []*mesosv1.TaskStatus {
	if len(was) == 0 {
		return now
	}
	last := was[len(was)-1]
	for i := len(now) - 1; i >= 0; i-- {
		if now[i] == last || proto.Equal(now[i], last) {
			return now[i+1:]
		}
	}
	return now
}

// followObjects tells of frameworks and agents.
func followObjects(ctx context.Context, f *follower) error {
	for e, err := range f.store.Events(ctx, f.snap.TableRev(tables.CustomObjects), tables.CustomObjects) {
		if err != nil {
			return err
		}
		plural, _, ok := tables.IsMesos(e.Key())
		if !ok || !f.Sees(tables.CustomObjects, e.Key()) {
			continue
		}
		var event *master.Event
		if plural == mesos.Frameworks.Resource {
			event = f.frameworkEvent(e)
		} else {
			event = f.agentEvent(e)
		}
		if event == nil {
			continue
		}
		if err := f.say(ctx, event); err != nil {
			return err
		}
	}
	return nil
}

// both reads an object before and after a change; nil where it was not there.
func both[T any](e *store.Event, from func(*unstructured.Unstructured) (*T, error)) (was, now *T) {
	read := func(o store.Object) *T {
		u, ok := o.(*unstructured.Unstructured)
		if !ok || u == nil {
			return nil
		}
		v, err := from(u)
		if err != nil {
			return nil
		}
		return v
	}
	if now = read(e.Object()); e.Type() == store.Deleted {
		return now, nil // the last that it was
	}
	return read(e.Old()), now
}

func (f *follower) frameworkEvent(e *store.Event) *master.Event {
	was, now := both(e, mesos.FrameworkFrom)
	there := func(f *mesos.Framework) bool { return f != nil && f.Status.Removed == nil }
	switch {
	case there(was) && !there(now):
		return &master.Event{Type: master.Event_FRAMEWORK_REMOVED.Enum(), FrameworkRemoved: &master.Event_FrameworkRemoved{FrameworkInfo: frameworkInfo(was)}}
	case !there(now):
		return nil
	case !there(was):
		return &master.Event{Type: master.Event_FRAMEWORK_ADDED.Enum(), FrameworkAdded: &master.Event_FrameworkAdded{Framework: f.frameworkMessage(&framework{Framework: now})}}
	}
	return &master.Event{Type: master.Event_FRAMEWORK_UPDATED.Enum(), FrameworkUpdated: &master.Event_FrameworkUpdated{Framework: f.frameworkMessage(&framework{Framework: now})}}
}

func (f *follower) agentEvent(e *store.Event) *master.Event {
	was, now := both(e, mesos.AgentFrom)
	there := func(a *mesos.Agent) bool {
		return a != nil && a.Status.ID != "" && a.Status.Unreachable == nil && !a.Spec.Gone
	}
	switch {
	case there(was) && !there(now):
		return &master.Event{Type: master.Event_AGENT_REMOVED.Enum(), AgentRemoved: &master.Event_AgentRemoved{AgentId: &mesosv1.AgentID{Value: &was.Status.ID}}}
	case there(now) && !there(was):
		one := &agent{Agent: now}
		one.node, _ = tables.Nodes.Get(f.store.Snapshot(), object.Key{Name: now.Name})
		one.total = mesos.Total(one.node, now)
		return &master.Event{Type: master.Event_AGENT_ADDED.Enum(), AgentAdded: &master.Event_AgentAdded{Agent: one.message()}}
	}
	return nil
}
