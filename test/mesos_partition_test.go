package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trireme/examples/mesos/framework"
)

// TestMesosKillAway: a task that is killed while its agent is not reached is told to be unreachable,
// and ends when the agent is back: TASK_KILLED, and its Pod goes.
func TestMesosKillAway(t *testing.T) {
	_, hosts := mesosMachines(t, 2, "--grace", "2s", "--mesos-agent-timeout", "5s")
	ctx, manager, k := t.Context(), hosts[0], &client{t: t, h: hosts[0], namespace: "default"}
	fw := mesosFramework(manager, "kills")
	hears := follows(t, fw)
	hears.launched(fw, hears.offersOf(hosts[1])[hosts[1].Name], "ends")
	must(t, hosts[1].Cut(ctx))
	hears.comes("ends", "TASK_UNREACHABLE", "REASON_AGENT_REMOVED")
	must(t, fw.Kill(ctx, framework.Value{Value: "ends"}))
	if e := hears.comes("ends", "TASK_UNREACHABLE", "REASON_RECONCILIATION"); !strings.Contains(string(e.Record), `"unreachable_time"`) {
		t.Errorf("it does not say since when: %s", e.Record)
	}
	if at := k.must("get", "pods", "-o", "jsonpath={.items[*].metadata.deletionTimestamp}"); at == "" {
		t.Error("its pod does not say that it is to end")
	}
	must(t, hosts[1].Mend(ctx))
	hears.comes("ends", "TASK_KILLED", "")
	await(t, manager, 20*time.Second, "its pod has gone", func() error {
		if left := k.must("get", "pods", "-o", "name"); left != "" {
			return fmt.Errorf("%w: there is %s", errNotYet, left)
		}
		return nil
	})
}

// TestMesosNoFailover: a framework that gives itself no time ends with its stream: its tasks are
// killed, and it may not come back.
func TestMesosNoFailover(t *testing.T) {
	_, hosts := mesosMachines(t, 1)
	h, k := hosts[0], &client{t: t, h: hosts[0], namespace: "default"}
	fw := mesosFramework(h, "brief")
	fw.FailoverTimeout = 0
	must(t, until(t.Context(), fw, func(e *framework.Event) (bool, error) {
		if e.Type == "OFFERS" {
			o := &e.Offers.Offers[0]
			return false, fw.Launch(t.Context(), o.ID, []framework.Task{busyboxTask("runs", "exec sleep 1000", o.AgentID)}, 3600)
		}
		return e.Update.Status.State == "TASK_RUNNING", nil
	}))
	await(t, h, 20*time.Second, "its task has ended", func() error {
		if left := k.must("get", "pods", "-o", "name"); left != "" {
			return fmt.Errorf("%w: there is %s", errNotYet, left)
		}
		return nil
	})
	if err := fw.Subscribe(t.Context(), func(*framework.Event) error { return nil }); err == nil || !strings.Contains(err.Error(), "Framework has been removed") {
		t.Errorf("it comes back: %v", err)
	}
}

// TestMesosGPUs: what a device plugin has of nvidia.com/gpu is offered as gpus, and the node with
// nothing else of it, to frameworks that say GPU_RESOURCES alone; a task that takes one has it.
func TestMesosGPUs(t *testing.T) {
	_, hosts := mesosMachines(t, 2)
	manager, k := hosts[0], &client{t: t, h: hosts[0], namespace: "default"}
	plugged(t, hosts[1], "nvidia.com/gpu")
	k.must("wait", `--for=jsonpath={.status.allocatable.nvidia\.com/gpu}=2`, "node/"+hosts[1].Name, "--timeout=30s")
	plain, knows := mesosFramework(manager, "plain"), mesosFramework(manager, "knows")
	knows.Capabilities = []string{"PARTITION_AWARE", "GPU_RESOURCES"}
	none := follows(t, plain)
	first := none.offersOf(hosts[0])
	hears := follows(t, knows)
	o := hears.offersOf(hosts[1])[hosts[1].Name]
	if n := o.Has("gpus"); n != 2 || first[hosts[1].Name] != nil {
		t.Errorf("%v GPUs are offered; who does not know them is offered %v", n, first)
	}
	must(t, knows.Launch(t.Context(), o.ID, []framework.Task{
		limitedTask("has", `test -c /dev/toy && test -n "$TOY" && exec sleep 1000`, o.AgentID, framework.Scalar("gpus", 1)),
	}, 3600))
	hears.comes("has", "TASK_RUNNING", "")
	must(t, knows.Call(t.Context(), "REVIVE", nil)) // the rest is offered again, behind the update
	if n := hears.offersOf(hosts[1])[hosts[1].Name].Has("gpus"); n != 1 {
		t.Errorf("%v GPUs are left", n)
	}
	must(t, plain.Launch(t.Context(), first[hosts[0].Name].ID, []framework.Task{busyboxTask("last", "exec sleep 1000", first[hosts[0].Name].AgentID)}, 3600))
	none.next("last TASK_RUNNING", func(e *framework.Event) bool {
		for _, o := range e.Offers.Offers {
			if o.Hostname == hosts[1].Name {
				t.Errorf("who does not know GPUs is offered %+v", o)
			}
		}
		return e.Update.Status.State == "TASK_RUNNING"
	})
}
