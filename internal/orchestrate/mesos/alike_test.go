package mesos_test

import (
	"slices"
	"testing"
	"time"

	"trireme/internal/object"
	ours "trireme/internal/object/mesos"
	"trireme/internal/tables"
)

// TestAlikeTasksHaveTheirOwnPods: tasks that differ in their ids alone are told their own, and
// each has its room, its name and its place; one that is not like them is itself.
func TestAlikeTasksHaveTheirOwnPods(t *testing.T) {
	c := newCell(t)
	offer := c.lend("fw-0000", "cpus:4;mem:512")
	odd := c.task("d", "cpus:1;mem:64", `,"command":{"value":"another"},"container":{"type":"DOCKER","docker":{"image":"busybox"}}`)
	told := c.accept(time.Second, []string{offer}, launch(c.task("a", "cpus:1;mem:64", command), c.task("b", "cpus:1;mem:64", command), odd, c.task("c", "cpus:1;mem:64", command)))
	if len(told) > 0 {
		t.Fatal(told)
	}
	names, uids := map[string]bool{}, map[string]bool{}
	for _, id := range []string{"a", "b", "c", "d"} {
		at := c.row(id).Pod
		pod, ok := tables.Pods.Get(c.Store.Head(), at)
		if !ok {
			t.Fatalf("task %s has no pod", id)
		}
		names[pod.Name], uids[string(pod.UID)] = true, true
		env := ""
		for _, e := range pod.Spec.Containers[0].Env {
			if e.Name == "MESOS_TASK_ID" || e.Name == "MESOS_EXECUTOR_ID" {
				env += e.Value
			}
		}
		c.want("variables of "+id, env, id+id)
		c.want("node of "+id, ours.PinnedNode(pod), "n")
		script := "sleep 9"
		if id == "d" {
			script = "another"
		}
		if !slices.Contains(pod.Spec.Containers[0].Command, script) {
			t.Errorf("%s runs %v, want %s", id, pod.Spec.Containers[0].Command, script)
		}
		if c.row(id).PodUID != pod.UID || object.KeyOf(pod) != at {
			t.Errorf("%s has the pod %s %s, its row says %s %s", id, at, c.row(id).PodUID, object.KeyOf(pod), pod.UID)
		}
	}
	if len(names) != 4 || len(uids) != 4 {
		t.Errorf("the pods are called %v, their UIDs are %v", names, uids)
	}
}
