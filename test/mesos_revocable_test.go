package test

import (
	"strings"
	"testing"

	"trireme/examples/mesos/framework"
)

// TestMesosRevocable: what a pod has asked for and does not use is offered as revocable, to who takes
// that. A task on it asks the scheduler for nothing, so that the node's room is others' as before, and
// goes first where they need it.
func TestMesosRevocable(t *testing.T) {
	_, hosts := mesosMachines(t, 1)
	h, k := hosts[0], &client{t: t, h: hosts[0], namespace: "default"}
	idle := func(name, cpu string) {
		k.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers: [{name: c, image: \"" + busybox +
			"\", imagePullPolicy: IfNotPresent, command: [sleep, \"1000\"], resources: {requests: {cpu: \"" + cpu + "\"}}}]\n")
	}
	idle("owner", "1200m")
	plain, takes := mesosFramework(h, "plain"), mesosFramework(h, "takes")
	takes.Capabilities = []string{"PARTITION_AWARE", "REVOCABLE_RESOURCES"}
	revocable := func(o *framework.Offer) (cpus float64) {
		for _, r := range o.Resources {
			if r.Name == "cpus" && r.Revocable != nil {
				cpus += r.Scalar.Value
			}
		}
		return cpus
	}
	none := follows(t, plain)
	firm := none.offersOf(h)[h.Name]
	must(t, plain.Launch(t.Context(), firm.ID, nil, 3600))
	hears := follows(t, takes)
	var o *framework.Offer
	hears.next("an offer of revocable resources", func(e *framework.Event) bool {
		for i := range e.Offers.Offers {
			if one := &e.Offers.Offers[i]; revocable(one) > 0 {
				o = one
			} else if err := takes.Launch(t.Context(), one.ID, nil, 3600); err != nil {
				t.Fatal(err)
			}
		}
		return o != nil
	})
	if n := revocable(o); n < 0.5 || n > 1.2 || revocable(firm) != 0 {
		t.Errorf("%v CPUs are offered; who does not take what is revocable is offered %+v", n, firm)
	}
	task := busyboxTask("borrows", "exec sleep 1000", o.AgentID)
	task.Resources = []framework.Resource{framework.Scalar("cpus", 0.5)}
	task.Resources[0].Revocable = &struct{}{}
	must(t, takes.Launch(t.Context(), o.ID, []framework.Task{task}, 0))
	hears.comes("borrows", "TASK_RUNNING", "")
	const columns = "jsonpath={.items[0].spec.containers[0].resources.requests.cpu} {.items[0].spec.priorityClassName} {.items[0].spec.priority}"
	if got := k.must("get", "pods", "-l", "mesos.trireme.dev/revocable", "-o", columns); got != "0 mesos-revocable -1000000" {
		t.Errorf("its pod: %s", got)
	}
	idle("later", "500m")
	k.must("wait", "--for=condition=Ready", "pod/later", "--timeout=30s")
	if s := k.must("get", "pods", "--field-selector=status.phase=Running", "-o", "name"); len(strings.Fields(s)) != 3 {
		t.Errorf("there run %s", s)
	}
	if err := takes.Call(t.Context(), "KILL", map[string]any{"task_id": framework.Value{Value: "borrows"}}); err != nil {
		t.Fatal(err)
	}
	hears.comes("borrows", "TASK_KILLED", "")
}
