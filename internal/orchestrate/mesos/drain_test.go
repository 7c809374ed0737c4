package mesos_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	mesosv1 "trireme/internal/mesos/v1"
	ours "trireme/internal/object/mesos"
	"trireme/internal/orchestrate/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

func drainLoops() []loop.Reconciler { return append(loops(), mesos.NewDrains()) }

// agent changes the Agent, and has the loops look.
func (c *cell) agent(change func(*ours.AgentSpec)) ours.AgentSpec {
	c.t.Helper()
	c.Update(func(tx *store.Tx) {
		a, ok := tables.MesosAgent(tx, "n")
		if !ok {
			c.t.Fatal("there is no agent")
		}
		change(&a.Spec)
		if err := tables.PutMesosAgent(tx, a); err != nil {
			c.t.Fatal(err)
		}
	})
	c.Settle(c.runner)
	a, _ := tables.MesosAgent(c.Store.Head(), "n")
	return a.Spec
}

func TestAnAgentIsDrained(t *testing.T) {
	c := newCell(t)
	c.runner = c.Runner(drainLoops()...)
	const patient = `,"kill_policy":{"grace_period":{"nanoseconds":60000000000}}`
	c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, launch(c.task("t", "cpus:1;mem:64", command+patient), c.task("brief", "cpus:1;mem:64", command)))
	for _, id := range []string{"t", "brief"} {
		c.pod(id, bound)
		c.pod(id, running)
	}
	drain := &ours.Drain{MaxGrace: &metav1.Duration{Duration: 5 * time.Second}, MarkGone: true}
	if spec := c.agent(func(s *ours.AgentSpec) { s.Drain, s.Deactivated = drain, true }); spec.Gone {
		t.Error("it is gone, and has tasks")
	}
	for id, want := range map[string]int64{"t": 5, "brief": 3} {
		pod, _ := tables.Pods.Get(c.Store.Head(), c.row(id).Pod)
		if pod.DeletionTimestamp == nil || *pod.DeletionGracePeriodSeconds != want {
			t.Errorf("%s: its pod gets %v s, want %d", id, pod.DeletionGracePeriodSeconds, want)
		}
		c.pod(id, ended(143))
	}
	last := c.row("t").Pending[len(c.row("t").Pending)-1]
	if last.GetState() != mesosv1.TaskState_TASK_KILLED || last.GetReason() != mesosv1.TaskStatus_REASON_AGENT_DRAINING {
		t.Errorf("the task is told %v", last)
	}
	c.acknowledge("t")
	if spec := c.agent(func(*ours.AgentSpec) {}); spec.Gone {
		t.Error("it is gone, and an update waits for its acknowledgement")
	}
	c.acknowledge("brief")
	if spec := c.agent(func(*ours.AgentSpec) {}); !spec.Gone {
		t.Error("it is drained, and not gone")
	}
	c.AtRest("loops that were just made", drainLoops())
}

func TestAnAgentIsGone(t *testing.T) {
	aware := []mesosv1.FrameworkInfo_Capability_Type{mesosv1.FrameworkInfo_Capability_PARTITION_AWARE}
	for want, capabilities := range map[string][]mesosv1.FrameworkInfo_Capability_Type{
		"t TASK_LOST REASON_AGENT_REMOVED_BY_OPERATOR: Agent has been marked gone":             nil,
		"t TASK_GONE_BY_OPERATOR REASON_AGENT_REMOVED_BY_OPERATOR: Agent has been marked gone": aware,
		"t TASK_LOST REASON_AGENT_REMOVED: Agent is down for maintenance":                      nil,
		"t TASK_GONE REASON_AGENT_REMOVED: Agent is down for maintenance":                      aware,
	} {
		c, down := newCell(t, capabilities...), strings.HasSuffix(want, "maintenance")
		c.runner = c.Runner(drainLoops()...)
		c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, launch(c.task("t", "cpus:1;mem:64", command)))
		c.pod("t", bound)
		c.pod("t", running)
		c.agent(func(s *ours.AgentSpec) { s.Gone, s.Down = !down, down })
		if got := c.told(); !slices.Equal(got, []string{want, "FAILURE"}) {
			t.Errorf("told %q, want %q", got, want)
		}
		if n := tables.Pods.Len(c.Store.Head()); (n != 0) != down || c.row("t").Completed == nil {
			t.Errorf("%d pods are left; the task: %+v", n, c.row("t"))
		}
		for p := range tables.Pods.All(c.Store.Head()) {
			if p.DeletionTimestamp == nil {
				t.Error("the pod of a task that is lost does not end")
			}
		}
		c.AtRest("loops that were just made", drainLoops())
	}
}
