package test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trireme/examples/mesos/framework"
	"trireme/test/cluster"
)

// offersOf returns an offer of each of the hosts, of which there may be several in one event.
func (f *followed) offersOf(hosts ...*cluster.Host) map[string]*framework.Offer {
	f.t.Helper()
	got := map[string]*framework.Offer{}
	f.next("an offer of each host", func(e *framework.Event) bool {
		for i := range e.Offers.Offers {
			got[e.Offers.Offers[i].Hostname] = &e.Offers.Offers[i]
		}
		return !slices.ContainsFunc(hosts, func(h *cluster.Host) bool { return got[h.Name] == nil })
	})
	return got
}

// update returns the next update of the task.
func (f *followed) update(task string) *framework.Event {
	f.t.Helper()
	return f.next("an update of "+task, func(e *framework.Event) bool { return e.Type == "UPDATE" && e.Update.Status.TaskID.Value == task })
}

// comes waits for an update of the task with the state and the reason.
func (f *followed) comes(task, state, reason string) *framework.Event {
	f.t.Helper()
	return f.next(task+" "+state, func(e *framework.Event) bool {
		s := &e.Update.Status
		return e.Type == "UPDATE" && s.TaskID.Value == task && s.State == state && (reason == "" || s.Reason == reason)
	})
}

// launched launches a task that runs until it is killed, and waits until it does.
func (f *followed) launched(fw *framework.Framework, o *framework.Offer, id string) {
	f.t.Helper()
	if err := fw.Launch(f.t.Context(), o.ID, []framework.Task{busyboxTask(id, "trap 'exit 0' TERM; sleep 1000 & wait", o.AgentID)}, 3600); err != nil {
		f.t.Fatal(err)
	}
	f.comes(id, "TASK_RUNNING", "")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMesosAgentAway: frameworks hear nothing of an agent that is away for less than its time. Of
// one that is away for longer the tasks are unreachable, and run again when it is back; frameworks
// that do not know partitions have lost them. One that its operator gives up never comes back.
func TestMesosAgentAway(t *testing.T) {
	_, hosts := mesosMachines(t, 3, "--grace", "2s", "--mesos-agent-timeout", "8s")
	ctx, manager, k := t.Context(), hosts[0], &client{t: t, h: hosts[0], namespace: "default"}
	aware, plain := mesosFramework(manager, "aware"), mesosFramework(manager, "plain")
	plain.Capabilities = []string{}
	hears := follows(t, aware)
	offers := hears.offersOf(hosts[1], hosts[2])
	hears.launched(aware, offers[hosts[1].Name], "stays")
	hears.launched(aware, offers[hosts[2].Name], "given-up")
	agent, gone := offers[hosts[1].Name].AgentID, offers[hosts[2].Name].AgentID
	loses := follows(t, plain)
	loses.launched(plain, loses.offersOf(hosts[1])[hosts[1].Name], "lost")
	containers := func() []string {
		return strings.Fields(k.must("get", "pods", "--field-selector=spec.nodeName="+hosts[1].Name, "-o", "jsonpath={.items[*].status.containerStatuses[0].containerID}"))
	}
	before := containers()

	must(t, hosts[1].Cut(ctx))
	must(t, manager.NodeIs(ctx, hosts[1], "Unknown"))
	must(t, hosts[1].Mend(ctx))
	must(t, manager.NodeIs(ctx, hosts[1], "True"))
	must(t, aware.Call(ctx, "RECONCILE", map[string]any{"tasks": []any{map[string]any{"task_id": framework.Value{Value: "stays"}}}}))
	if s := &hears.update("stays").Update.Status; s.State != "TASK_RUNNING" || s.Reason != "REASON_RECONCILIATION" {
		t.Errorf("after a short absence it is told %+v", s)
	}

	must(t, hosts[1].Cut(ctx))
	must(t, hosts[2].Cut(ctx))
	if e := hears.comes("stays", "TASK_UNREACHABLE", "REASON_AGENT_REMOVED"); !strings.Contains(string(e.Record), `"unreachable_time"`) {
		t.Errorf("it does not say since when: %s", e.Record)
	}
	loses.next("TASK_LOST", func(e *framework.Event) bool { return e.Update.Status.State == "TASK_LOST" })
	loses.next("FAILURE", func(e *framework.Event) bool {
		return e.Type == "FAILURE" && strings.Contains(string(e.Record), agent.Value)
	})
	must(t, plain.Call(ctx, "TEARDOWN", nil)) // it would hold offers
	newMasterAPI(t, manager).call(200, `{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"`+gone.Value+`"}}}`, nil)
	hears.comes("given-up", "TASK_GONE_BY_OPERATOR", "REASON_AGENT_REMOVED_BY_OPERATOR")
	ask := func(agent framework.Value) map[string]any {
		return map[string]any{"task_id": framework.Value{Value: "other"}, "agent_id": agent}
	}
	for at, want := range map[framework.Value]string{agent: "TASK_UNREACHABLE", gone: "TASK_GONE_BY_OPERATOR"} {
		must(t, aware.Call(ctx, "RECONCILE", map[string]any{"tasks": []any{ask(at)}}))
		hears.comes("other", want, "REASON_RECONCILIATION")
	}

	must(t, hosts[1].Mend(ctx))
	must(t, hosts[2].Mend(ctx))
	hears.comes("stays", "TASK_RUNNING", "REASON_AGENT_REREGISTERED")
	await(t, manager, 30*time.Second, "what was lost or given up has ended", func() error {
		if left := k.must("get", "pods", "-o", "name"); len(strings.Fields(left)) != 1 {
			return fmt.Errorf("there are %s", left)
		}
		return nil
	})
	if now := containers(); len(now) != 1 || !slices.Contains(before, now[0]) {
		t.Errorf("containers were %v, are %v", before, now)
	}
	must(t, manager.NodeIs(ctx, hosts[2], "True"))
	must(t, aware.Call(ctx, "REVIVE", nil))
	if offers := hears.offersOf(hosts[1]); offers[hosts[2].Name] != nil {
		t.Error("an agent that was given up is offered")
	}
	must(t, aware.Kill(ctx, framework.Value{Value: "stays"}))
	hears.comes("stays", "TASK_KILLED", "")
}

// TestMesosFrameworkAway: a framework that comes back within its time misses nothing. One that
// stays away for longer is no more: its tasks end, and it may not come back.
func TestMesosFrameworkAway(t *testing.T) {
	_, hosts := mesosMachines(t, 1)
	h, k := hosts[0], &client{t: t, h: hosts[0], namespace: "default"}
	fw, running := mesosFramework(h, "away"), map[string]bool{}
	must(t, until(t.Context(), fw, func(e *framework.Event) (bool, error) {
		if e.Type == "OFFERS" {
			o := &e.Offers.Offers[0]
			const command = "trap 'exit 0' TERM; while [ ! -e /end ]; do sleep 0.1; done"
			return false, fw.Launch(t.Context(), o.ID, []framework.Task{busyboxTask("ends", command, o.AgentID), busyboxTask("stays", command, o.AgentID)}, 3600)
		}
		if s := &e.Update.Status; s.State == "TASK_RUNNING" {
			running[s.TaskID.Value] = true
		}
		return len(running) == 2, nil
	}))
	id := fw.ID()
	k.must("exec", strings.Fields(k.must("get", "pods", "-o", "name"))[0], "--", "touch", "/end") // ends- comes first
	await(t, h, 20*time.Second, "one has ended meanwhile", func() error {
		if got := k.must("get", "pods", "--field-selector=status.phase=Succeeded", "-o", "name"); !strings.HasPrefix(got, "pod/ends-") {
			return fmt.Errorf("%w: %s", errNotYet, got)
		}
		return nil
	})
	fw.FailoverTimeout = 2
	finished, told := "", map[string]string{}
	must(t, until(t.Context(), fw, func(e *framework.Event) (bool, error) {
		switch s := &e.Update.Status; {
		case e.Type == "SUBSCRIBED" && fw.ID() != id:
			return false, fmt.Errorf("it was %s, is %s", id, fw.ID())
		case e.Type == "SUBSCRIBED":
			go func() { _ = fw.Call(t.Context(), "RECONCILE", map[string]any{"tasks": []any{}}) }() // a failure shows as an answer that does not come
		case s.UUID != "" && s.State == "TASK_FINISHED":
			finished = s.TaskID.Value
		case s.Reason == "REASON_RECONCILIATION":
			told[s.TaskID.Value] = s.State
		}
		return finished == "ends" && told["stays"] == "TASK_RUNNING", nil
	}))

	await(t, h, 30*time.Second, "its tasks have ended", func() error {
		if left := k.must("get", "pods", "-o", "name"); left != "" {
			return fmt.Errorf("there are %s", left)
		}
		return nil
	})
	var state struct {
		Frameworks struct {
			Completed []struct {
				Info struct{ ID framework.Value } `json:"framework_info"`
			} `json:"completed_frameworks"`
		} `json:"get_frameworks"`
		Tasks struct {
			Completed []struct {
				ID    framework.Value `json:"task_id"`
				State string
			} `json:"completed_tasks"`
		} `json:"get_tasks"`
	}
	m := newMasterAPI(t, h)
	m.call(200, `{"type":"GET_FRAMEWORKS"}`, &state)
	if done := state.Frameworks.Completed; len(done) != 1 || done[0].Info.ID.Value != id {
		t.Errorf("completed frameworks: %+v", done)
	}
	m.call(200, `{"type":"GET_TASKS"}`, &state)
	for _, one := range state.Tasks.Completed {
		told[one.ID.Value] = one.State
	}
	if told["stays"] != "TASK_KILLED" || told["ends"] != "TASK_FINISHED" {
		t.Errorf("its tasks ended so: %v", told)
	}
	if err := fw.Subscribe(t.Context(), func(*framework.Event) error { return nil }); err == nil || !strings.Contains(err.Error(), "Framework has been removed") {
		t.Errorf("it comes back: %v", err)
	}
}

// TestMesosAgentKilled: an agent that is killed finds its executors again. Updates that nobody had
// acknowledged come, once each, and the executor gets the tasks that come after.
func TestMesosAgentKilled(t *testing.T) {
	bin := filepath.Join(mesosGo(t), "example-executor")
	_, hosts := mesosMachines(t, 2)
	h, k := hosts[1], &client{t: t, h: hosts[0], namespace: "default"}
	fw, updates := mesosFramework(hosts[0], "executing"), map[string][]string{}
	launch := func(o *framework.Offer, id string) error {
		some := []framework.Resource{framework.Scalar("cpus", 0.1), framework.Scalar("mem", 64)}
		task := map[string]any{"name": id, "task_id": framework.Value{Value: id}, "agent_id": o.AgentID, "resources": some, "executor": map[string]any{
			"executor_id": framework.Value{Value: "mine"}, "type": "CUSTOM", "resources": some, "command": map[string]any{"value": bin, "shell": false},
		}}
		return fw.Call(t.Context(), "ACCEPT", map[string]any{"offer_ids": []framework.Value{o.ID}, "operations": []any{
			map[string]any{"type": "LAUNCH", "launch": map[string]any{"task_infos": []any{task}}},
		}})
	}
	executor := func() string {
		return k.must("get", "pods", "-o", "jsonpath={.items[*].metadata.uid} {.items[*].status.containerStatuses[0].containerID}")
	}
	var before string
	must(t, until(t.Context(), fw, func(e *framework.Event) (bool, error) {
		for i := range e.Offers.Offers {
			o, next := &e.Offers.Offers[i], ""
			switch {
			case o.Hostname != h.Name:
			case len(updates) == 0:
				next = "first"
			case len(updates["first"]) == 2 && len(updates) == 1:
				next = "second"
			}
			if next == "" {
				if err := fw.Launch(t.Context(), o.ID, nil, 1); err != nil {
					return false, err
				}
			} else if err := launch(o, next); err != nil {
				return false, err
			}
		}
		s := &e.Update.Status
		if e.Type != "UPDATE" {
			return false, nil
		}
		if known := updates[s.TaskID.Value]; !slices.Contains(known, s.State+" "+s.UUID) {
			updates[s.TaskID.Value] = append(known, s.State+" "+s.UUID)
		}
		if s.TaskID.Value == "first" && s.State == "TASK_RUNNING" && before == "" { // it is acknowledged when this returns
			if err := h.Await(t.Context(), "the executor is done with its task", func() error { return agentSays(h, `"TASK_FINISHED"`) }); err != nil {
				return false, err
			}
			before = executor()
			if err := h.Kill(); err != nil {
				return false, err
			}
			return false, h.Restart()
		}
		return len(updates["second"]) == 2, nil
	}))
	for task, all := range updates {
		if len(all) != 2 || !strings.HasPrefix(all[0], "TASK_RUNNING") || !strings.HasPrefix(all[1], "TASK_FINISHED") {
			t.Errorf("%s: %v", task, all)
		}
	}
	if now := executor(); now != before {
		t.Errorf("the executor was %s, is %s", before, now)
	}
}

// agentSays asks what tasks the agent of the host has.
func agentSays(h *cluster.Host, what string) error {
	web := &http.Client{Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.Address+":5051/api/v1", strings.NewReader(`{"type":"GET_TASKS"}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), what) {
		return fmt.Errorf("%w: %s %v", errNotYet, text, err)
	}
	return nil
}
