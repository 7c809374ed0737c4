package mesos

import (
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
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

// operated tells the framework what became of an operation.
func operated(tx *store.Tx, framework string, s *mesosv1.OperationStatus) {
	notify(tx, framework, &scheduler.Event{
		Type: scheduler.Event_UPDATE_OPERATION_STATUS.Enum(), UpdateOperationStatus: &scheduler.Event_UpdateOperationStatus{Status: s},
	})
}

// registry reads frameworks and agents, each once for as long as it stays the same.
type registry struct {
	frameworks map[object.Key]read[*mesos.Framework]
	agents     map[object.Key]read[*mesos.Agent]
}

type read[T any] struct {
	rev store.Rev
	of  T
}

// framework returns the framework of an id; nil where there is none.
func (r *registry) framework(tx *store.Tx, id string) *mesos.Framework {
	f, ok := again(&r.frameworks, tx, tables.MesosFrameworkKey(id), mesos.FrameworkFrom)
	if !ok || f.Spec.ID != id {
		return nil
	}
	return f
}

// agent returns the agent of a node; nil where there is none.
func (r *registry) agent(tx *store.Tx, node string) *mesos.Agent {
	a, _ := again(&r.agents, tx, tables.MesosAgentKey(node), mesos.AgentFrom)
	return a
}

func again[T any](have *map[object.Key]read[T], tx *store.Tx, at object.Key, from func(*unstructured.Unstructured) (T, error)) (none T, ok bool) {
	row, ok := tables.CustomObjects.Row(tx, at)
	if !ok {
		delete(*have, at)
		return none, false
	}
	if was, ok := (*have)[at]; ok && row.Rev() != 0 && was.rev == row.Rev() {
		return was.of, true
	}
	of, err := from(row.Object())
	if err != nil {
		return none, false
	}
	if *have == nil {
		*have = map[object.Key]read[T]{}
	}
	(*have)[at] = read[T]{row.Rev(), of}
	return of, true
}

// lost returns the state of a task that is no more though nobody ended it: what a framework
// that does not know partitions calls TASK_LOST.
func lost(f *mesos.Framework, state mesosv1.TaskState) mesosv1.TaskState {
	if f.Has(mesosv1.FrameworkInfo_Capability_PARTITION_AWARE) {
		return state
	}
	return mesosv1.TaskState_TASK_LOST
}
