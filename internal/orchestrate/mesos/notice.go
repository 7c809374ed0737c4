package mesos

import (
	"google.golang.org/protobuf/proto"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// notify puts an event behind those that wait for the framework.
func notify(tx *store.Tx, framework string, e *scheduler.Event) {
	n := &mesos.Notice{Event: e}
	n.Namespace = framework
	tables.PutMesosNotice(tx, n)
}

// update tells the framework a status that no task queues: one that it does not acknowledge.
func update(tx *store.Tx, framework string, s *mesosv1.TaskStatus) {
	notify(tx, framework, &scheduler.Event{Type: scheduler.Event_UPDATE.Enum(), Update: &scheduler.Event_Update{Status: s}})
}

// failure tells the framework that an agent is gone, or an executor of it.
func failure(tx *store.Tx, framework, agent string) {
	notify(tx, framework, &scheduler.Event{
		Type: scheduler.Event_FAILURE.Enum(), Failure: &scheduler.Event_Failure{AgentId: &mesosv1.AgentID{Value: proto.String(agent)}},
	})
}

// registry reads frameworks, each once for as long as it stays the same.
type registry struct {
	read map[string]registered
}

type registered struct {
	rev store.Rev
	f   *mesos.Framework
}

// get returns the framework of an id; nil where there is none.
func (r *registry) get(tx *store.Tx, id string) *mesos.Framework {
	row, ok := tables.CustomObjects.Row(tx, tables.MesosFrameworkKey(id))
	if !ok {
		delete(r.read, id)
		return nil
	}
	if have, ok := r.read[id]; ok && row.Rev() != 0 && have.rev == row.Rev() {
		return have.f
	}
	f, err := mesos.FrameworkFrom(row.Object())
	if err != nil || f.Spec.ID != id {
		return nil
	}
	if r.read == nil {
		r.read = map[string]registered{}
	}
	r.read[id] = registered{row.Rev(), f}
	return f
}

// lost returns the state of a task that is no more though nobody ended it: what a framework
// that does not know partitions calls TASK_LOST.
func lost(f *mesos.Framework, state mesosv1.TaskState) mesosv1.TaskState {
	if f.Has(mesosv1.FrameworkInfo_Capability_PARTITION_AWARE) {
		return state
	}
	return mesosv1.TaskState_TASK_LOST
}
