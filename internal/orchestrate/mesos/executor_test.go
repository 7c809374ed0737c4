package mesos_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	mesosv1 "trireme/internal/mesos/v1"
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
