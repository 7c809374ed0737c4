package executor

import (
	"strings"
	"testing"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/mesos"
)

// TestAGroupIsGivenAsOne: an executor gets the tasks of a group together, once all are here,
// and again where it has not got them; one that is killed before takes the others with it.
func TestAGroupIsGivenAsOne(t *testing.T) {
	dir := t.TempDir()
	n := newNode(t, dir)
	n.x.Observe(executorPod(), running())
	group := func(ids ...string) func(*mesos.Order) { return func(o *mesos.Order) { o.Group = ids } }
	kill := func(o *mesos.Order) { o.Kill = true }
	n.x.Order(order("a", group("a", "b")))
	l := n.subscribe("")
	n.x.Order(order("alone"))
	l.next("LAUNCH") // the group is not whole
	n.x.Order(order("b", group("a", "b")))
	if e := l.next("LAUNCH_GROUP"); !strings.Contains(e, `"task_id":{"value":"a"}`) || !strings.Contains(e, `"task_id":{"value":"b"}`) {
		t.Error(e)
	}
	n.post(update("a", "TASK_RUNNING", uuid1))
	l.next("ACKNOWLEDGED")

	again := newNode(t, dir) // as after a restart
	again.x.Observe(executorPod(), running())
	l = again.subscribe(`"unacknowledged_tasks":[{"name":"alone","task_id":{"value":"alone"},"agent_id":{"value":"A-S0"}}]`)
	if e := l.next("LAUNCH_GROUP"); strings.Contains(e, `"task_id":{"value":"a"}`) || !strings.Contains(e, `"task_id":{"value":"b"}`) {
		t.Errorf("what it has not got: %s", e)
	}
	again.x.Order(order("b", group("a", "b"), kill))
	if e := l.next("KILL"); !strings.Contains(e, `"value":"b"`) {
		t.Error(e)
	}

	again.x.Order(order("c", group("c", "d"), kill))
	again.x.Order(order("d", group("c", "d")))
	for _, id := range []string{"c", "d"} {
		again.says(id, "TASK_KILLED REASON_TASK_KILLED_DURING_LAUNCH A-S0")
	}
	again.x.Order(order("last"))
	l.next("LAUNCH") // and nothing of the group

	again.x.Order(order("elsewhere", func(o *mesos.Order) { o.PodUID = "v" }))
	if got := again.x.Tasks("v"); len(got) != 1 || got["elsewhere"] != mesosv1.TaskState_TASK_STAGING {
		t.Errorf("another executor of the framework has %v", got)
	}
}
