package mesos

import (
	"google.golang.org/protobuf/proto"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// reconcile tells the states of tasks: of those that are asked for, or of all that are known
// (Mesos, docs "Task Reconciliation"). Nothing has to be waited for: what is known was
// replicated.
func reconcile(c *call) error {
	asked, f := c.GetReconcile().GetTasks(), c.framework
	return c.write(func(tx *store.Tx) error {
		if len(asked) == 0 {
			for t := range tables.MesosTasks.In(tx, f.Spec.ID) {
				if t.Completed == nil {
					notify(tx, f.Spec.ID, updateEvent(latest(tx, t)))
				}
			}
			return nil
		}
		for _, one := range asked {
			id := one.GetTaskId().GetValue()
			if t, ok := tables.MesosTasks.Get(tx, object.Key{Namespace: f.Spec.ID, Name: id}); ok && t.Completed == nil {
				notify(tx, f.Spec.ID, updateEvent(latest(tx, t)))
			} else {
				answer(tx, f, id, one.GetAgentId().GetValue())
			}
		}
		return nil
	})
}

// latest returns the latest state of a task, as reconciliation tells it.
func latest(tx *store.Tx, t *mesos.Task) *mesosv1.TaskStatus {
	s := t.Status(t.State, "Reconciliation: Latest task state", tx.Now())
	s.Reason = mesosv1.TaskStatus_REASON_RECONCILIATION.Enum()
	if n := len(t.Statuses); n > 0 {
		last := t.Statuses[n-1]
		s.Healthy, s.CheckStatus, s.ContainerStatus = last.Healthy, last.CheckStatus, last.ContainerStatus
	}
	if t.Unreachable != nil {
		s.UnreachableTime = &mesosv1.TimeInfo{Nanoseconds: proto.Int64(t.Unreachable.UnixNano())}
	}
	return s
}

// answer tells what is known of a task that is not: what became of its agent.
func answer(tx *store.Tx, f *mesos.Framework, task, agent string) {
	t := &mesos.Task{Agent: agent}
	t.Name = task
	state, message := mesosv1.TaskState_TASK_UNKNOWN, "Reconciliation: Task is unknown"
	s := t.Status(state, message, tx.Now())
	s.Reason, s.ExecutorId = mesosv1.TaskStatus_REASON_RECONCILIATION.Enum(), nil
	if agent == "" {
		s.AgentId = nil
		state, message = mesosv1.TaskState_TASK_GONE, "Reconciliation: Task is unknown to all agents"
	}
	for a := range tables.MesosAgents(tx) {
		if agent == "" {
			break
		}
		if a.Status.ID != agent {
			continue
		}
		switch {
		case a.Spec.Gone:
			state, message = mesosv1.TaskState_TASK_GONE_BY_OPERATOR, "Reconciliation: Task is gone"
		case a.Status.Unreachable != nil:
			state, message = mesosv1.TaskState_TASK_UNREACHABLE, "Reconciliation: Task is unreachable"
			s.UnreachableTime = &mesosv1.TimeInfo{Nanoseconds: proto.Int64(a.Status.Unreachable.UnixNano())}
		default:
			state, message = mesosv1.TaskState_TASK_GONE, "Reconciliation: Task is unknown to the agent"
		}
	}
	if !f.Has(mesosv1.FrameworkInfo_Capability_PARTITION_AWARE) {
		state, s.UnreachableTime = mesosv1.TaskState_TASK_LOST, nil
	}
	s.State, s.Message = state.Enum(), &message
	notify(tx, f.Spec.ID, updateEvent(s))
}

// notify puts an event behind those that wait for the framework.
func notify(tx *store.Tx, framework string, e *scheduler.Event) {
	n := &mesos.Notice{Event: e}
	n.Namespace = framework
	tables.PutMesosNotice(tx, n)
}

// reconcileOperations tells the states of operations: of those that wait for their
// acknowledgement the state that was told, of others that they are not known.
func reconcileOperations(c *call) error {
	asked, f := c.GetReconcileOperations().GetOperations(), c.framework
	return c.write(func(tx *store.Tx) error {
		waiting := map[string]*mesosv1.OperationStatus{}
		for n := range tables.MesosNotices.In(tx, f.Spec.ID) {
			if s := n.Event.GetUpdateOperationStatus().GetStatus(); s.GetOperationId() != nil && s.GetUuid() != nil {
				waiting[s.GetOperationId().GetValue()] = s
				if len(asked) == 0 {
					notify(tx, f.Spec.ID, operationEvent(reconciled(s)))
				}
			}
		}
		for _, one := range asked {
			s := waiting[one.GetOperationId().GetValue()]
			if s == nil {
				s = &mesosv1.OperationStatus{OperationId: one.OperationId, State: operationState(tx, one.GetAgentId().GetValue()).Enum(), AgentId: one.AgentId}
			}
			notify(tx, f.Spec.ID, operationEvent(reconciled(s)))
		}
		return nil
	})
}

// reconciled returns a status as reconciliation tells it: nobody acknowledges it.
func reconciled(s *mesosv1.OperationStatus) *mesosv1.OperationStatus {
	return &mesosv1.OperationStatus{
		OperationId: s.OperationId, State: s.State, Message: proto.String("Reconciliation: Latest operation state"),
		AgentId: s.AgentId, ConvertedResources: s.ConvertedResources,
	}
}

func operationEvent(s *mesosv1.OperationStatus) *scheduler.Event {
	return &scheduler.Event{Type: scheduler.Event_UPDATE_OPERATION_STATUS.Enum(), UpdateOperationStatus: &scheduler.Event_UpdateOperationStatus{Status: s}}
}

// operationState is that of an operation that nobody knows, by what became of its agent.
func operationState(tx *store.Tx, agent string) mesosv1.OperationState {
	for a := range tables.MesosAgents(tx) {
		if agent == "" || a.Status.ID != agent {
			continue
		}
		switch {
		case a.Spec.Gone:
			return mesosv1.OperationState_OPERATION_GONE_BY_OPERATOR
		case a.Status.Unreachable != nil:
			return mesosv1.OperationState_OPERATION_UNREACHABLE
		}
	}
	return mesosv1.OperationState_OPERATION_UNKNOWN
}
