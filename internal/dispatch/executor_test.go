package dispatch_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// TestExecutorTasks: tasks of custom executors go to their node alone, what it says of them is
// written once, also where a leader before had their rows, and tasks of a framework that is gone
// are called off.
func TestExecutorTasks(t *testing.T) {
	m := newManager(t, time.Minute)
	here, other := m.agent("n1"), m.agent("n2")
	here.next()
	other.next()
	f := &mesos.Framework{ObjectMeta: metav1.ObjectMeta{Name: "f"}}
	f.Spec.ID = "f"
	f.Spec.Info.M = &mesosv1.FrameworkInfo{User: proto.String("root"), Name: proto.String("f")}
	task := &mesos.Task{
		ObjectMeta: metav1.ObjectMeta{Namespace: "f", Name: "t"}, Node: "n1", Agent: "A-S0", Custom: true, PodUID: "u",
		Info: &mesosv1.TaskInfo{Name: proto.String("t"), TaskId: &mesosv1.TaskID{Value: proto.String("t")}}, Executor: &mesosv1.ExecutorInfo{ExecutorId: &mesosv1.ExecutorID{Value: proto.String("e")}},
	}
	m.update(func(tx *store.Tx) {
		if err := tables.PutMesosFramework(tx, f); err != nil {
			t.Fatal(err)
		}
		tables.MesosTasks.Put(tx, task)
	})
	sent, ok := here.drainUntil(mesos.OrdersTable + " f/t").Object.(*mesos.Order)
	if !ok || sent.Executor.M.GetExecutorId().GetValue() != "e" || sent.Framework.M.GetName() != "f" || sent.PodUID != "u" {
		t.Fatalf("the node was sent %+v", sent)
	}
	order, err := sent.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	status := func(state mesosv1.TaskState, uuid string) []byte {
		b, err := proto.Marshal(&mesosv1.TaskStatus{TaskId: task.Info.TaskId, State: &state, Uuid: []byte(uuid)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := object.Key{Namespace: "f", Name: "t"}
	row := func(s *store.Snapshot) *mesos.Task { r, _ := tables.MesosTasks.Get(s, key); return r }
	running, finished := status(mesosv1.TaskState_TASK_RUNNING, "1"), status(mesosv1.TaskState_TASK_FINISHED, "2")
	// Another node's word is not taken: it would be written before what counts.
	other.ReportTask(key, &wire.TaskUpdates{Order: order, Updates: [][]byte{status(mesosv1.TaskState_TASK_FAILED, "3")}, Last: finished})
	here.ReportTask(key, &wire.TaskUpdates{Order: order, Updates: [][]byte{running}, Last: running})
	m.await("an update", func(s *store.Snapshot) bool { return row(s).State == mesosv1.TaskState_TASK_RUNNING })
	here.ReportTask(key, &wire.TaskUpdates{Order: order, Updates: [][]byte{running, finished}, Last: finished})
	m.await("two updates", func(s *store.Snapshot) bool { return row(s).State == mesosv1.TaskState_TASK_FINISHED })
	if r := row(m.store.Snapshot()); len(r.Pending) != 2 || len(r.Statuses) != 2 {
		t.Errorf("%d wait of %d updates, want two each: %v", len(r.Pending), len(r.Statuses), r.Statuses)
	}
	// The first is acknowledged; then the rows are lost, as with a leader.
	m.update(func(tx *store.Tx) { tables.MesosTasks.Delete(tx, key) })
	here.ReportTask(key, &wire.TaskUpdates{Order: order, Updates: [][]byte{finished}, Last: finished})
	m.await("the row again", func(s *store.Snapshot) bool { r := row(s); return r != nil && len(r.Pending) == 1 })
	if r := row(m.store.Snapshot()); r.Node != "n1" || !r.Custom || r.PodUID != "u" || r.Info.GetName() != "t" {
		t.Errorf("the row is %+v", r)
	}
	strange := *sent
	strange.Namespace = "g" // of a framework that nobody knows
	if order, err = strange.Marshal(); err != nil {
		t.Fatal(err)
	}
	here.ReportTask(object.Key{Namespace: "g", Name: "t"}, &wire.TaskUpdates{Order: order, Last: running})
	if i := here.drainUntil(mesos.OrdersTable + " g/t"); !i.Deleted {
		t.Errorf("a task of a framework that is gone: %+v", i)
	}
}

// TestExecutorMessages: what executors say reaches their frameworks as notices, in order.
func TestExecutorMessages(t *testing.T) {
	m := newManager(t, time.Minute)
	here := m.agent("n1")
	here.next()
	f := &mesos.Framework{ObjectMeta: metav1.ObjectMeta{Name: "f"}}
	f.Spec.ID = "f"
	f.Spec.Info.M = &mesosv1.FrameworkInfo{User: proto.String("root"), Name: proto.String("f")}
	m.update(func(tx *store.Tx) {
		if err := tables.PutMesosFramework(tx, f); err != nil {
			t.Fatal(err)
		}
	})
	here.ReportMessage(&wire.ExecutorMessage{Framework: "f", Executor: "e", Agent: "A", Data: []byte("hi")})
	here.ReportMessage(&wire.ExecutorMessage{Framework: "none", Executor: "e", Agent: "A", Data: []byte("lost")})
	here.ReportMessage(&wire.ExecutorMessage{Framework: "f", Executor: "e", Agent: "A", Ended: true, Status: 256})
	var got []*mesos.Notice
	m.await("two notices", func(s *store.Snapshot) bool {
		got = nil
		for n := range tables.MesosNotices.All(s) {
			got = append(got, n)
		}
		return len(got) == 2
	})
	if string(got[0].Event.GetMessage().GetData()) != "hi" || got[1].Event.GetFailure().GetStatus() != 256 {
		t.Errorf("notices: %v, %v", got[0].Event, got[1].Event)
	}
}
