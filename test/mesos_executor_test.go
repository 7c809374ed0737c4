package test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"trireme/examples/mesos/framework"
	"trireme/internal/mesos/codec"
	mesosexecutor "trireme/internal/mesos/v1/executor"
	"trireme/test/cluster"
)

// accept uses an offer for operations; what is left of it is not offered again for an hour.
func accept(t *testing.T, fw *framework.Framework, o *framework.Offer, operations ...any) {
	t.Helper()
	must(t, fw.Call(t.Context(), "ACCEPT", map[string]any{
		"offer_ids": []framework.Value{o.ID}, "filters": map[string]float64{"refuse_seconds": 3600}, "operations": operations,
	}))
}

// launchOf is a LAUNCH of tasks in Mesos' JSON.
func launchOf(tasks ...any) any {
	return map[string]any{"type": "LAUNCH", "launch": map[string]any{"task_infos": tasks}}
}

// played is an executor that the test plays, on the network of its node.
type played struct {
	t             *testing.T
	h             *cluster.Host
	web           *http.Client
	framework, id string
	events        *codec.Reader
}

// plays subscribes as an executor once its agent knows it.
func plays(t *testing.T, h *cluster.Host, framework, id string) *played {
	t.Helper()
	p := &played{t: t, h: h, framework: framework, id: id, web: &http.Client{Transport: &http.Transport{DialContext: h.Dial}}}
	t.Cleanup(p.web.CloseIdleConnections)
	await(t, h, 20*time.Second, "the agent knows executor "+id, func() error {
		resp, err := p.post("SUBSCRIBE", `"subscribe":{}`)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			return fmt.Errorf("%w: %s %s %v", errNotYet, resp.Status, text, err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		p.events = codec.NewReader(resp.Body, 1<<20)
		return nil
	})
	p.next(mesosexecutor.Event_SUBSCRIBED)
	return p
}

func (p *played) post(kind, part string) (*http.Response, error) {
	body := fmt.Sprintf(`{"type":%q,"executor_id":{"value":%q},"framework_id":{"value":%q},%s}`, kind, p.id, p.framework, part)
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "http://"+p.h.Address+":5051/api/v1/executor", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return p.web.Do(req)
}

// next returns the next event but for acknowledgements, which is of the type.
func (p *played) next(want mesosexecutor.Event_Type) *mesosexecutor.Event {
	p.t.Helper()
	for {
		record, err := p.events.Next()
		if err != nil {
			p.t.Fatalf("waiting for %s: %v", want, err)
		}
		e := &mesosexecutor.Event{}
		if err := codec.ParseJSON(bytes.Clone(record), e); err != nil {
			p.t.Fatal(err)
		}
		if e.GetType() == want {
			return e
		}
		if e.GetType() != mesosexecutor.Event_ACKNOWLEDGED {
			p.t.Fatalf("it is told %s, want %s", record, want)
		}
	}
}

// says reports a state of a task.
func (p *played) says(task, state string) {
	p.t.Helper()
	id := uuid.New()
	resp, err := p.post("UPDATE", fmt.Sprintf(`"update":{"status":{"task_id":{"value":%q},"state":%q,"source":"SOURCE_EXECUTOR","uuid":%q}}`, task, state, base64.StdEncoding.EncodeToString(id[:])))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusAccepted {
		p.t.Fatalf("saying that %s is %s: %s %s %v", task, state, resp.Status, text, err)
	}
}

// TestMesosGroupOfOwnExecutor: an executor of a framework's own gets the tasks of a group
// together, and more groups while it runs; its pod asks for what all of them do.
func TestMesosGroupOfOwnExecutor(t *testing.T) {
	_, hosts := mesosMachines(t, 1)
	h, k := hosts[0], &client{t: t, h: hosts[0], namespace: "default"}
	fw := mesosFramework(h, "crews")
	hears := follows(t, fw)
	some := []framework.Resource{framework.Scalar("cpus", 0.1), framework.Scalar("mem", 32)}
	group := func(o *framework.Offer, ids ...string) {
		t.Helper()
		var tasks []any
		for _, id := range ids {
			tasks = append(tasks, map[string]any{"name": id, "task_id": framework.Value{Value: id}, "agent_id": o.AgentID, "resources": some})
		}
		accept(t, fw, o, map[string]any{"type": "LAUNCH_GROUP", "launch_group": map[string]any{
			"executor":   map[string]any{"type": "CUSTOM", "executor_id": framework.Value{Value: "crew"}, "resources": some, "command": map[string]any{"value": "exec sleep 1000"}},
			"task_group": map[string]any{"tasks": tasks},
		}})
	}
	group(hears.offersOf(h)[h.Name], "a", "b")
	crew := plays(t, h, fw.ID(), "crew")
	if got := crew.next(mesosexecutor.Event_LAUNCH_GROUP).GetLaunchGroup().GetTaskGroup().GetTasks(); len(got) != 2 {
		t.Errorf("it is given %v", got)
	}
	for _, id := range []string{"a", "b"} {
		crew.says(id, "TASK_RUNNING")
		hears.comes(id, "TASK_RUNNING", "")
	}
	must(t, fw.Call(t.Context(), "REVIVE", nil))
	group(hears.offersOf(h)[h.Name], "c")
	if got := crew.next(mesosexecutor.Event_LAUNCH_GROUP).GetLaunchGroup().GetTaskGroup().GetTasks(); len(got) != 1 || got[0].GetTaskId().GetValue() != "c" {
		t.Errorf("it is given %v", got)
	}
	if got := k.must("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].resources.requests.cpu}"); got != "400m" {
		t.Errorf("its pods ask for %s", got)
	}
	must(t, fw.Kill(t.Context(), framework.Value{Value: "b"}))
	if id := crew.next(mesosexecutor.Event_KILL).GetKill().GetTaskId().GetValue(); id != "b" {
		t.Errorf("it is to kill %s", id)
	}
	crew.says("b", "TASK_KILLED")
	hears.comes("b", "TASK_KILLED", "")
	crew.says("a", "TASK_FINISHED") // what of a group goes on is its executor's to say
	hears.comes("a", "TASK_FINISHED", "")
	must(t, fw.Call(t.Context(), "TEARDOWN", nil))
	await(t, h, 20*time.Second, "its pod has gone", func() error {
		if left := k.must("get", "pods", "-o", "name"); left != "" {
			return fmt.Errorf("there are %s", left)
		}
		return nil
	})
}
