package test

import (
	"strings"
	"testing"

	"trireme/examples/mesos/framework"
)

// limitedTask is a task in the busybox image with resources in Mesos' JSON.
func limitedTask(id, command string, agent framework.Value, resources ...framework.Resource) framework.Task {
	t := busyboxTask(id, command, agent)
	t.Resources = append([]framework.Resource{framework.Scalar("cpus", 0.05), framework.Scalar("mem", 32)}, resources...)
	return t
}

// TestMesosLimits: a task that takes more memory or disk than it asked for ends, and its framework
// is told of what it had too little. A part of a GPU is an error, and so is one that is not there.
func TestMesosLimits(t *testing.T) {
	_, hosts := mesosMachines(t, 1)
	h := hosts[0]
	fw := mesosFramework(h, "limited")
	hears := follows(t, fw)
	o := hears.offersOf(h)[h.Name]
	must(t, fw.Launch(t.Context(), o.ID, []framework.Task{
		limitedTask("half", "true", o.AgentID, framework.Scalar("gpus", 0.5)), limitedTask("none", "true", o.AgentID, framework.Scalar("gpus", 1)),
		limitedTask("hog", "exec tail /dev/zero", o.AgentID), limitedTask("filler", "dd if=/dev/zero of=$MESOS_SANDBOX/much bs=1M count=40; exec sleep 1000", o.AgentID, framework.Scalar("disk", 16)),
	}, 0))
	ends := map[string]string{}
	for len(ends) < 4 {
		e := hears.next("an end", func(e *framework.Event) bool { return e.Type == "UPDATE" && e.Update.Status.Ended() })
		ends[e.Update.Status.TaskID.Value] = string(e.Record)
	}
	for id, parts := range map[string][]string{
		"half": {`"TASK_ERROR"`, `"REASON_TASK_INVALID"`, "0.5 GPUs"}, "none": {`"TASK_ERROR"`, `"REASON_TASK_INVALID"`, "more resources"},
		"hog":    {`"TASK_FAILED"`, `"REASON_CONTAINER_LIMITATION_MEMORY"`, `"limitation":{"resources":[{"name":"mem"`},
		"filler": {`"TASK_FAILED"`, `"REASON_CONTAINER_LIMITATION_DISK"`, `"limitation":{"resources":[{"name":"disk"`},
	} {
		for _, part := range parts {
			if !strings.Contains(ends[id], part) {
				t.Errorf("of %s it is told %s, which lacks %s", id, ends[id], part)
			}
		}
	}
}
