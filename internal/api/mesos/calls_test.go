package mesos_test

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
	object_mesos "trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

func TestWhatCallsWrite(t *testing.T) {
	d := newDoor(t)
	f := d.subscribe(codec.Protobuf, info("a")).subscribed()
	task := &object_mesos.Task{Agent: "m-S0", Node: "n", Info: &mesosv1.TaskInfo{}, State: mesosv1.TaskState_TASK_RUNNING}
	task.Namespace, task.Name = f.id, "t"
	d.update(func(tx *store.Tx) { tables.MesosTasks.Put(tx, task) })
	row := func() *object_mesos.Task {
		got, _ := tables.MesosTasks.Get(d.store.Snapshot(), object.KeyOf(task))
		return got
	}
	id := &mesosv1.TaskID{Value: proto.String("t")}
	kill := func(agent string, grace int64) {
		f.call(202, &scheduler.Call{Type: scheduler.Call_KILL.Enum(), Kill: &scheduler.Call_Kill{
			TaskId: id, AgentId: &mesosv1.AgentID{Value: &agent}, KillPolicy: &mesosv1.KillPolicy{GracePeriod: &mesosv1.DurationInfo{Nanoseconds: &grace}},
		}})
		f.settled()
	}
	if kill("x", 0); row().Kill != nil {
		t.Fatal("a KILL for another agent counts")
	}
	if kill("m-S0", int64(time.Second)); row().Kill == nil || *row().Kill.Grace != time.Second {
		t.Fatalf("kill %+v", row().Kill)
	}
	if kill("m-S0", 0); row().Kill.Times != 2 {
		t.Fatalf("killed %d times", row().Kill.Times)
	}
	f.call(202, &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{
		OfferIds: []*mesosv1.OfferID{{Value: proto.String("o")}}, Filters: &mesosv1.Filters{RefuseSeconds: proto.Float64(-7)},
	}})
	f.settled()
	for a := range tables.MesosAccepts.All(d.store.Snapshot()) {
		if a.Namespace != f.id || a.Offers[0] != "o" || a.RefuseFor != 5*time.Second {
			t.Errorf("accept %+v", a)
		}
	}
	fw, _ := tables.MesosFramework(d.store.Snapshot(), f.id)
	executor := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "e", OwnerReferences: []metav1.OwnerReference{object.ControllerRef(fw, object_mesos.FrameworkKind)}}}
	executor.Annotations = map[string]string{object_mesos.ExecutorAnnotation: `{"executor_id":{"value":"e"}}`, object_mesos.AgentAnnotation: "m-S0"}
	d.update(func(tx *store.Tx) { tables.Pods.Put(tx, executor) })
	for _, name := range []string{"other", "e"} {
		f.call(202, &scheduler.Call{Type: scheduler.Call_SHUTDOWN.Enum(), Shutdown: &scheduler.Call_Shutdown{ExecutorId: &mesosv1.ExecutorID{Value: &name}, AgentId: &mesosv1.AgentID{Value: proto.String("m-S0")}}})
		f.settled()
		if there := tables.Pods.Len(d.store.Snapshot()) == 1; there != (name == "other") {
			t.Errorf("SHUTDOWN of %s: the executor e is there: %v", name, there)
		}
	}
	f.call(202, &scheduler.Call{Type: scheduler.Call_SUPPRESS.Enum()})
	f.settled()
	if fw, _ := tables.MesosFramework(d.store.Snapshot(), f.id); len(fw.Spec.Suppressed) != 1 {
		t.Errorf("suppressed %v", fw.Spec.Suppressed)
	}
	f.call(202, &scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
	for {
		snap := d.store.Snapshot()
		if fw, _ := tables.MesosFramework(snap, f.id); fw.Status.RemoveAt != nil {
			break
		}
		<-snap.Next()
	}
	d.update(func(tx *store.Tx) { // as mesos/frameworks does
		fw, _ := tables.MesosFramework(tx, f.id)
		fw.Status.Removed = fw.Status.RemoveAt
		if err := tables.PutMesosFramework(tx, fw); err != nil {
			t.Fatal(err)
		}
	})
	if record, err := f.events.Next(); err == nil {
		t.Errorf("the stream of a framework that was removed goes on: %q", record)
	}
	again := info("a")
	again.Id = &mesosv1.FrameworkID{Value: &f.id}
	if why := d.subscribe(codec.JSON, again).next(scheduler.Event_ERROR).GetError().GetMessage(); why != "Framework has been removed" {
		t.Error(why)
	}
}

func TestAnOperationIsOwedUntilItIsAcknowledged(t *testing.T) {
	d := newDoor(t)
	f := d.subscribe(codec.Protobuf, info("a")).subscribed()
	owed := func() int {
		fw, _ := tables.MesosFramework(d.store.Snapshot(), f.id)
		return len(fw.Status.Operations)
	}
	id, uuid := &mesosv1.OperationID{Value: proto.String("o")}, object_mesos.Digest("o")
	d.update(func(tx *store.Tx) {
		fw, _ := tables.MesosFramework(tx, f.id)
		fw.Owe(&mesosv1.OperationStatus{OperationId: id, State: mesosv1.OperationState_OPERATION_FINISHED.Enum(), Uuid: &mesosv1.UUID{Value: uuid}})
		if err := tables.PutMesosFramework(tx, fw); err != nil {
			t.Error(err)
		}
	})
	for n, uuid := range [][]byte{object_mesos.Digest("another"), uuid} {
		f.call(202, &scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS.Enum(), AcknowledgeOperationStatus: &scheduler.Call_AcknowledgeOperationStatus{
			OperationId: id, AgentId: &mesosv1.AgentID{Value: proto.String("m-S0")}, Uuid: uuid,
		}})
		f.settled()
		if got := owed(); got != 1-n {
			t.Errorf("after acknowledgement %d it waits for %d", n, got)
		}
	}
}

func TestAFrameworkIsUpdatedAsAWholeOrNot(t *testing.T) {
	d := newDoor(t)
	i := info("a")
	i.Roles, i.Capabilities = []string{"x", "y"}, []*mesosv1.FrameworkInfo_Capability{{Type: mesosv1.FrameworkInfo_Capability_MULTI_ROLE.Enum()}}
	f := d.subscribe(codec.JSON, i).subscribed()
	update := func(want int, change func(*mesosv1.FrameworkInfo), suppressed ...string) {
		t.Helper()
		next := proto.Clone(i).(*mesosv1.FrameworkInfo)
		next.Id = &mesosv1.FrameworkID{Value: &f.id}
		change(next)
		f.call(want, &scheduler.Call{Type: scheduler.Call_UPDATE_FRAMEWORK.Enum(), UpdateFramework: &scheduler.Call_UpdateFramework{FrameworkInfo: next, SuppressedRoles: suppressed}})
	}
	update(400, func(i *mesosv1.FrameworkInfo) { i.Roles = []string{"x"} }, "y")
	update(400, func(i *mesosv1.FrameworkInfo) { i.User = proto.String("other") })
	update(400, func(i *mesosv1.FrameworkInfo) { i.Id.Value = proto.String("z") })
	update(200, func(i *mesosv1.FrameworkInfo) { i.Roles, i.Name = []string{"x", "a/b"}, proto.String("renamed") }, "x")
	fw, _ := tables.MesosFramework(d.store.Snapshot(), f.id)
	if fw.Spec.Info.M.GetName() != "renamed" || len(fw.Roles()) != 2 || len(fw.Spec.Suppressed) != 1 {
		t.Errorf("framework %v, suppressed %v", fw.Spec.Info.M, fw.Spec.Suppressed)
	}
	ns, ok := tables.Namespaces.Get(d.store.Snapshot(), object.Key{Name: object_mesos.Namespace("a/b")})
	if !ok || object_mesos.Role(ns) != "a/b" {
		t.Errorf("the namespace of a/b: %+v", ns)
	}
}

func TestWhoMayNotMakePodsMayNotSubscribe(t *testing.T) {
	d := newDoor(t)
	body := codec.AppendJSON(nil, &scheduler.Call{Type: scheduler.Call_SUBSCRIBE.Enum(), Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: info("a")}})
	res := d.post(codec.JSON, map[string]string{"Authorization": "Bearer weak"}, body)
	defer res.Body.Close()
	b := new(bytes.Buffer)
	if _, err := b.ReadFrom(res.Body); err != nil || !bytes.Contains(b.Bytes(), []byte("Not authorized to use role '*': user bob may not create pods in namespace default")) {
		t.Errorf("%s %q, %v", res.Status, b, err)
	}
}
