package mesos_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const executor = `,"executor":{"executor_id":{"value":"e"},"command":{"value":"run"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},{"name":"mem","type":"SCALAR","scalar":{"value":32}}]}`

// said is an update that the agent reports of a task of a custom executor.
func (c *cell) said(id string, state mesosv1.TaskState) {
	c.t.Helper()
	t := c.row(id).Clone()
	s := t.Status(state, "", time.Now())
	s.Uuid = []byte(id + state.String())
	t.Append(s)
	c.Update(func(tx *store.Tx) { tables.MesosTasks.Put(tx, t) })
	c.Settle(c.runner)
}

// pods returns how many Pods there are, and what the first container of the last asks for.
func (c *cell) pods() string {
	n, asks := 0, ""
	for p := range tables.Pods.All(c.Store.Head()) {
		r := p.Spec.Containers[0].Resources
		n, asks = n+1, fmt.Sprintf("%s, %s of %s", r.Requests.Cpu(), r.Requests.Memory(), limit(&r))
	}
	return fmt.Sprintf("%d: %s", n, asks)
}

func limit(r *corev1.ResourceRequirements) *resource.Quantity { return r.Limits.Memory() }

// TestAnIdleExecutor: an executor that has no task left is given the next one of its id.
func TestAnIdleExecutor(t *testing.T) {
	c := newCell(t)
	start := func(id string) {
		t.Helper()
		if got := c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, launch(c.task(id, "cpus:0.5;mem:64", executor))); got != nil {
			t.Fatalf("told %v", got)
		}
	}
	start("t1")
	c.pod("t1", bound)
	c.pod("t1", running)
	c.want("one task", c.pods(), "1: 600m, 96Mi of 96Mi")
	start("t2")
	c.want("two tasks", c.pods(), "1: 1100m, 160Mi of 160Mi")
	for _, id := range []string{"t1", "t2"} {
		c.said(id, mesosv1.TaskState_TASK_RUNNING)
		c.said(id, mesosv1.TaskState_TASK_FINISHED)
		c.acknowledge(id)
	}
	c.want("no task", c.pods(), "1: 100m, 32Mi of 32Mi")
	first := c.row("t1").PodUID
	start("t3")
	if got := c.row("t3"); got.PodUID != first || !got.Custom {
		t.Errorf("the third task is on pod %s, the first was on %s", got.PodUID, first)
	}
	c.want("one again", c.pods(), "1: 600m, 96Mi of 96Mi")
	other := c.task("t4", "cpus:0.5;mem:64", executor)
	other.Executor.Name = proto.String("another")
	if got := c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, launch(other)); len(got) != 1 {
		t.Errorf("another executor of the id: told %v", got)
	}
}

// TestAGroupForAnExecutorOfItsOwn: the tasks of a group are its executor's together, on a Pod that
// it begins with or has already, or none of them is.
func TestAGroupForAnExecutorOfItsOwn(t *testing.T) {
	c := newCell(t)
	info := c.task("", "", executor).Executor
	info.Type = mesosv1.ExecutorInfo_CUSTOM.Enum()
	group := func(ids ...string) []string {
		t.Helper()
		g := &mesosv1.Offer_Operation_LaunchGroup{Executor: info, TaskGroup: &mesosv1.TaskGroupInfo{}}
		for _, id := range ids {
			g.TaskGroup.Tasks = append(g.TaskGroup.Tasks, c.task(id, "cpus:0.5;mem:64", ""))
		}
		return c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, &mesosv1.Offer_Operation{Type: mesosv1.Offer_Operation_LAUNCH_GROUP.Enum(), LaunchGroup: g})
	}
	if got := group("a", "b"); got != nil {
		t.Fatalf("told %v", got)
	}
	c.want("two tasks", c.pods(), "1: 1100m, 160Mi of 160Mi")
	for _, id := range []string{"a", "b"} {
		if got := c.row(id); !got.Custom || len(got.Group) != 2 || got.Group[1] != "b" {
			t.Errorf("task %s is custom: %v, of group %v", id, got.Custom, got.Group)
		}
	}
	c.pod("a", bound)
	c.pod("a", running)
	if got := group("c"); got != nil {
		t.Fatalf("told %v", got)
	}
	c.want("a group that came later", c.pods(), "1: 1600m, 224Mi of 224Mi")
	if got := group("d", "a"); len(got) != 2 || !strings.HasPrefix(got[0], "d TASK_ERROR REASON_TASK_GROUP_INVALID: Task has duplicate ID: a") {
		t.Errorf("a group with a task that there is: told %v", got)
	}
	if _, ok := tables.MesosTasks.Get(c.Store.Head(), object.Key{Namespace: "fw-0000", Name: "d"}); ok {
		t.Error("half of a group was launched")
	}
	c.want("nothing more", c.pods(), "1: 1600m, 224Mi of 224Mi")
	info = proto.Clone(info).(*mesosv1.ExecutorInfo)
	info.Command, info.ExecutorId.Value = nil, proto.String("other")
	if got := group("e"); len(got) != 1 || !strings.Contains(got[0], "'ExecutorInfo.command' must be set for 'CUSTOM' executor") {
		t.Errorf("an executor without a command: told %v", got)
	}
}
