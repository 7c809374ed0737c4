package dispatch

import (
	"bytes"
	"context"

	"google.golang.org/protobuf/proto"

	"trireme/internal/kind"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// messagesMax is how many messages to a node's executors may wait; more are dropped, for Mesos
// promises none.
const messagesMax = 1000

// orderNodes returns the nodes that a task of a custom executor is on, or was.
func orderNodes(e *store.Event) (nodes []string) {
	for _, o := range []store.Object{e.Object(), e.Old()} {
		if t, ok := o.(*mesos.Task); ok && t != nil && t.Custom {
			nodes = append(nodes, t.Node)
		}
	}
	return nodes
}

// sendOrders sends all tasks that custom executors on the node have.
func (s *session) sendOrders(out *outbox, snap *store.Snapshot) error {
	for row := range tables.MesosTasks.By(snap, tables.MesosByNode, s.node) {
		if err := s.sendOrder(out, snap, row.Key()); err != nil {
			return err
		}
	}
	return nil
}

// sendOrder sends a task that a custom executor on the node has, or that it has it no more.
func (s *session) sendOrder(out *outbox, snap *store.Snapshot, key object.Key) error {
	t, ok := tables.MesosTasks.Get(snap, key)
	var info *mesosv1.FrameworkInfo
	if ok = ok && t.Custom && t.Node == s.node && t.Completed == nil; ok {
		if f := frameworkOf(snap, key.Namespace); f != nil {
			info = f.Spec.Info.M
		}
	}
	if !ok || info == nil {
		return out.put(wire.NewAssignment(mesos.OrdersTable, key, nil))
	}
	b, err := mesos.OrderOf(t, info).Marshal()
	if err != nil {
		return err
	}
	return out.put(wire.NewAssignment(mesos.OrdersTable, key, b))
}

func frameworkOf(r store.Reader, id string) *mesos.Framework {
	row, ok := tables.CustomObjects.Row(r, tables.MesosFrameworkKey(id))
	if !ok {
		return nil
	}
	f, err := mesos.FrameworkFrom(row.Object())
	if err != nil || f.Spec.ID != id || f.Status.Removed != nil {
		return nil
	}
	return f
}

// executorTasks takes what custom executors on a node said of their tasks. A task whose row a
// leader before had gets it again; one of a framework that is gone is called off.
func (d *Dispatcher) executorTasks(ctx context.Context, s *session, all []*wire.TaskUpdates) error {
	if len(all) == 0 {
		return nil
	}
	decoded := make([]*taskReport, 0, len(all))
	for _, u := range all {
		r, err := decodeTask(u)
		if err != nil {
			return err
		}
		decoded = append(decoded, r)
	}
	var off []object.Key
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		off = off[:0]
		for _, r := range decoded {
			if !r.put(tx, s.node) {
				off = append(off, object.KeyOf(r.order))
			}
		}
		return nil
	})
	for _, key := range off {
		s.mark(item{tables.MesosTasks.ID(), key.String()})
	}
	if len(off) > 0 {
		s.signal()
	}
	return err
}

// taskReport is a task that a node reports of.
type taskReport struct {
	order   *mesos.Order
	updates []*mesosv1.TaskStatus
	last    *mesosv1.TaskStatus // nil: none yet
}

func decodeTask(u *wire.TaskUpdates) (*taskReport, error) {
	r := &taskReport{order: &mesos.Order{}}
	if err := r.order.Unmarshal(u.Order); err != nil {
		return nil, kind.New(kind.Malformed, "decoding a task: %w", err)
	}
	for _, b := range append(u.Updates[:len(u.Updates):len(u.Updates)], u.Last) {
		s := &mesosv1.TaskStatus{}
		if err := proto.Unmarshal(b, s); len(b) > 0 && err != nil {
			return nil, kind.New(kind.Malformed, "decoding an update of task %s: %w", object.KeyOf(r.order), err)
		}
		r.updates = append(r.updates, s)
	}
	n := len(r.updates) - 1
	if r.updates, r.last = r.updates[:n], r.updates[n]; len(u.Last) == 0 {
		r.last = nil
	}
	return r, nil
}

// put writes what is new of the task; false: nobody wants to know of it.
func (r *taskReport) put(tx *store.Tx, node string) bool {
	key := object.KeyOf(r.order)
	t, ok := tables.MesosTasks.Get(tx, key)
	switch {
	case ok && (t.PodUID != r.order.PodUID || t.Node != node || t.Completed != nil):
		return false
	case !ok && frameworkOf(tx, key.Namespace) == nil:
		return false
	case !ok:
		t = r.order.Task(node)
		if r.last != nil && !hasUpdate(r.updates, r.last) {
			t.Append(r.last)
			t.Pending = nil // it was acknowledged
		}
	}
	next := t.Clone()
	for _, s := range r.updates {
		if !hasUpdate(next.Statuses, s) {
			next.Append(s)
		}
	}
	if !ok || len(next.Statuses) != len(t.Statuses) || len(next.Pending) != len(t.Pending) || next.State != t.State {
		tables.MesosTasks.Put(tx, next)
	}
	return true
}

func hasUpdate(list []*mesosv1.TaskStatus, s *mesosv1.TaskStatus) bool {
	for _, one := range list {
		if bytes.Equal(one.GetUuid(), s.GetUuid()) {
			return true
		}
	}
	return false
}

// executorMessages passes on what executors say to their frameworks, and which have ended.
func (d *Dispatcher) executorMessages(ctx context.Context, all []*wire.ExecutorMessage) error {
	if len(all) == 0 {
		return nil
	}
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		for _, m := range all {
			if frameworkOf(tx, m.Framework) == nil {
				continue
			}
			n := &mesos.Notice{Event: eventOf(m)}
			n.Namespace = m.Framework
			tables.PutMesosNotice(tx, n)
		}
		return nil
	})
	return err
}

func eventOf(m *wire.ExecutorMessage) *scheduler.Event {
	agent, executor := &mesosv1.AgentID{Value: &m.Agent}, &mesosv1.ExecutorID{Value: &m.Executor}
	if m.Ended {
		return &scheduler.Event{Type: scheduler.Event_FAILURE.Enum(), Failure: &scheduler.Event_Failure{AgentId: agent, ExecutorId: executor, Status: &m.Status}}
	}
	return &scheduler.Event{Type: scheduler.Event_MESSAGE.Enum(), Message: &scheduler.Event_Message{AgentId: agent, ExecutorId: executor, Data: m.Data}}
}

// ToExecutor sends what a framework says to its executor on the agent of the id, best effort.
func (d *Dispatcher) ToExecutor(agent, framework, executor string, data []byte) {
	for a := range tables.MesosAgents(d.store.Snapshot()) {
		if a.Status.ID != agent {
			continue
		}
		d.mu.Lock()
		s := d.sessions[a.Name]
		d.mu.Unlock()
		if s != nil {
			s.say(&wire.ExecutorMessage{Framework: framework, Executor: executor, Agent: agent, Data: data})
		}
		return
	}
}

// Allow says whether somebody who asks the calling node may do so.
func (v *service) Allow(ctx context.Context, r *wire.AllowRequest) (*wire.AllowResponse, error) {
	node, err := caller(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	if v.d.cfg.Allow == nil {
		return nil, toStatus(kind.New(kind.Unavailable, "this manager knows no users"))
	}
	resp, err := v.d.cfg.Allow(ctx, r)
	if err != nil {
		return nil, toStatus(err)
	}
	if a, ok := tables.MesosAgent(v.d.store.Snapshot(), node); ok {
		resp.Agent = a.Status.ID
	}
	return resp, nil
}

// say queues a message for the node.
func (s *session) say(m *wire.ExecutorMessage) {
	s.mu.Lock()
	if len(s.messages) < messagesMax {
		s.messages = append(s.messages, m)
	}
	s.mu.Unlock()
	s.signal()
}
