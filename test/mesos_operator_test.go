package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trireme/examples/mesos/framework"
	"trireme/test/cluster"
)

// masterAPI asks a manager's operator API, as its anonymous user.
type masterAPI struct {
	t   *testing.T
	h   *cluster.Host
	web *http.Client
}

func newMasterAPI(t *testing.T, h *cluster.Host) *masterAPI {
	web := &http.Client{Transport: &http.Transport{DialContext: h.Dial}}
	t.Cleanup(web.CloseIdleConnections)
	return &masterAPI{t, h, web}
}

// ask sends a request and decodes the answer, which has the status, into v where it is not nil.
func (m *masterAPI) ask(method, path, body string, status int, v any) error {
	req, err := http.NewRequestWithContext(m.t.Context(), method, "http://"+m.h.Address+":5050"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := m.web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("%s %s: %s: %s", path, body, resp.Status, text)
	}
	if err == nil && v != nil {
		err = json.Unmarshal(text, v)
	}
	return err
}

func (m *masterAPI) call(status int, body string, v any) {
	m.t.Helper()
	if err := m.ask("POST", "/api/v1", body, status, v); err != nil {
		m.t.Fatal(err)
	}
}

// words collects what a program says.
type words struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// masterState is what readers of /state look at.
type masterState struct {
	Leader string
	Slaves []struct {
		ID       string
		Hostname string
		PID      string
		Reserved map[string]map[string]any `json:"reserved_resources"`
	}
	Frameworks []struct {
		ID    string
		Tasks []struct {
			ID, State string
			Statuses  []struct {
				State           string
				ContainerStatus struct {
					NetworkInfos []struct {
						IPAddresses []struct {
							IPAddress string `json:"ip_address"`
						} `json:"ip_addresses"`
					} `json:"network_infos"`
				} `json:"container_status"`
			}
		}
	}
	Completed []struct{ ID string } `json:"completed_frameworks"`
}

// TestMesosOperator: mesos-go's mwatch follows in protobuf what happens to a framework; an
// operator reads the state, reserves, drains the agent and brings it back, weighs a role and
// tears the framework down.
func TestMesosOperator(t *testing.T) {
	mwatch := filepath.Join(mesosGo(t), "mwatch")
	_, hosts := mesosMachines(t, 1)
	h := hosts[0]
	k := &client{t: t, h: h, namespace: "default"}
	m := newMasterAPI(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	watch, said := h.Command(ctx, mwatch, "-master", h.Address), &words{}
	watch.Stdout, watch.Stderr = said, said
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = watch.Wait() // it was killed
	})
	hears := func(what string) {
		t.Helper()
		await(t, h, 20*time.Second, "mwatch says "+what, func() error {
			if !strings.Contains(said.String(), what) {
				return fmt.Errorf("%w: %s", errNotYet, said)
			}
			return nil
		})
	}

	await(t, h, 20*time.Second, "mwatch is subscribed, which it does not say", func() error {
		probe := mesosFramework(h, "probe")
		probe.Once = true
		if err := until(t.Context(), probe, func(e *framework.Event) (bool, error) { return e.Type == "SUBSCRIBED", nil }); err != nil {
			return err
		}
		if !strings.Contains(said.String(), "FRAMEWORK_ADDED") {
			return errNotYet
		}
		return nil
	})

	fw := mesosFramework(h, "operated")
	events := follows(t, fw)
	o := &events.next("an offer", func(e *framework.Event) bool { return e.Type == "OFFERS" }).Offers.Offers[0]
	agent := o.AgentID.Value
	task := busyboxTask("drained", "trap 'exit 0' TERM; sleep 1000 & wait", o.AgentID)
	if err := fw.Launch(t.Context(), o.ID, []framework.Task{task}, 3600); err != nil {
		t.Fatal(err)
	}
	events.next("TASK_RUNNING", func(e *framework.Event) bool { return e.Update.Status.State == "TASK_RUNNING" })
	hears("TASK_ADDED")
	hears("TASK_RUNNING")

	state := masterState{}
	if err := m.ask("GET", "/master/state", "", 200, &state); err != nil {
		t.Fatal(err)
	}
	if len(state.Slaves) != 1 || state.Slaves[0].ID != agent || state.Slaves[0].PID != "slave(1)@"+h.Address+":5051" || state.Leader != "master@"+h.Address+":5050" {
		t.Errorf("the state says %+v, led by %s", state.Slaves, state.Leader)
	}
	if len(state.Frameworks) != 1 || state.Frameworks[0].ID != fw.ID() || len(state.Frameworks[0].Tasks) != 1 {
		t.Fatalf("the state has %+v", state.Frameworks)
	}
	if one := state.Frameworks[0].Tasks[0]; one.State != "TASK_RUNNING" || len(one.Statuses) == 0 || len(one.Statuses[len(one.Statuses)-1].ContainerStatus.NetworkInfos) == 0 {
		t.Errorf("the task is %+v", one)
	}

	reserve := `"agent_id":{"value":"` + agent + `"},"resources":[{"name":"disk","type":"SCALAR","scalar":{"value":64},"reservations":[{"type":"DYNAMIC","role":"db"}]}]}}`
	m.call(202, `{"type":"RESERVE_RESOURCES","reserve_resources":{`+reserve, nil)
	if err := m.ask("GET", "/slaves", "", 200, &state); err != nil || fmt.Sprint(state.Slaves[0].Reserved["db"]["disk"]) != "64" {
		t.Errorf("reserved: %v, %v", state.Slaves[0].Reserved, err)
	}
	m.call(202, `{"type":"UNRESERVE_RESOURCES","unreserve_resources":{`+reserve, nil)
	m.call(200, `{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"db","weight":2.5}]}}`, nil)
	if w := k.must("get", "tenant", "db", "-o", "jsonpath={.spec.weight}"); w != "2.5" {
		t.Errorf("the tenant weighs %s", w)
	}
	drains(t, m, fw, events, agent)
	hears("TASK_KILLED")

	for _, args := range [][]string{{"run", "forged", "--image", busybox, "--labels", "mesos.trireme.dev/framework=" + fw.ID()}, {"label", "pod", "honest", "mesos.trireme.dev/framework=" + fw.ID()}} {
		if args[0] == "label" {
			k.must("run", "honest", "--image", busybox, "--command", "--", "sleep", "1000")
		}
		if out, err := k.run(t.Context(), "", args...); err == nil || !strings.Contains(out, "tasks are launched by their framework") {
			t.Errorf("kubectl %s: %v: %s", args[0], err, out)
		}
	}
	removed := strings.Count(said.String(), "FRAMEWORK_REMOVED") // the probes
	m.call(200, `{"type":"TEARDOWN","teardown":{"framework_id":{"value":"`+fw.ID()+`"}}}`, nil)
	await(t, h, 20*time.Second, "mwatch says FRAMEWORK_REMOVED once more", func() error {
		if strings.Count(said.String(), "FRAMEWORK_REMOVED") <= removed {
			return errNotYet
		}
		return nil
	})
	select {
	case <-events.ended:
	case <-time.After(20 * time.Second):
		t.Error("the framework's stream goes on")
	}
	if err := m.ask("GET", "/frameworks", "", 200, &state); err != nil || !slices.ContainsFunc(state.Completed, func(c struct{ ID string }) bool { return c.ID == fw.ID() }) {
		t.Errorf("completed: %+v, %v", state.Completed, err)
	}
}

// followed are the events of a framework that a test reads one after the other; updates are
// acknowledged meanwhile.
type followed struct {
	t      *testing.T
	events chan *framework.Event
	ended  chan error
}

func follows(t *testing.T, fw *framework.Framework) *followed {
	f := &followed{t, make(chan *framework.Event, 256), make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		f.ended <- fw.Subscribe(ctx, func(e *framework.Event) error {
			select {
			case f.events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return f
}

// next returns the next event that is so, passing over others.
func (f *followed) next(what string, is func(*framework.Event) bool) *framework.Event {
	f.t.Helper()
	limit := time.After(40 * time.Second)
	var passed []byte
	for {
		select {
		case e := <-f.events:
			if is(e) {
				return e
			}
			passed = append(append(passed, '\n'), e.Record...)
			if s := &e.Update.Status; s.Ended() && e.Type == "UPDATE" {
				f.t.Fatalf("waiting for %s: %s is %s, %s: %s", what, s.TaskID.Value, s.State, s.Reason, s.Message)
			}
		case err := <-f.ended:
			f.t.Fatalf("waiting for %s: the stream has ended: %v", what, err)
		case <-limit:
			f.t.Fatalf("waiting for %s: it does not come, but%s", what, passed)
		}
	}
}

// drains has the agent's task end by draining it, and the agent offered again.
func drains(t *testing.T, m *masterAPI, fw *framework.Framework, events *followed, agent string) {
	t.Helper()
	id := `{"agent_id":{"value":"` + agent + `"}`
	m.call(200, `{"type":"DRAIN_AGENT","drain_agent":`+id+`,"max_grace_period":{"seconds":2}}}`, nil)
	s := events.next("TASK_KILLED", func(e *framework.Event) bool { return e.Type == "UPDATE" && e.Update.Status.Ended() }).Update.Status
	if s.State != "TASK_KILLED" || s.Reason != "REASON_AGENT_DRAINING" {
		t.Errorf("the task is told %+v", s)
	}
	await(t, m.h, 20*time.Second, "the agent is drained", func() error {
		var out struct {
			Agents struct {
				Agents []struct {
					Drain struct{ State string } `json:"drain_info"`
				}
			} `json:"get_agents"`
		}
		if err := m.ask("POST", "/api/v1", `{"type":"GET_AGENTS"}`, 200, &out); err != nil || len(out.Agents.Agents) != 1 {
			return fmt.Errorf("%w: %+v %v", errNotYet, out, err)
		}
		if state := out.Agents.Agents[0].Drain.State; state != "DRAINED" {
			return fmt.Errorf("%w: it is %s", errNotYet, state)
		}
		return nil
	})
	m.call(200, `{"type":"REACTIVATE_AGENT","reactivate_agent":`+id+`}}`, nil)
	if err := fw.Call(t.Context(), "REVIVE", nil); err != nil { // what it has refused it would not see for an hour
		t.Fatal(err)
	}
	events.next("an offer of the agent that is back", func(e *framework.Event) bool { return e.Type == "OFFERS" })
}
