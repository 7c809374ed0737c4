package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"trireme/examples/mesos/framework"
)

// TestMesosMaintenance: a machine in the schedule has inverse offers made, whose answers the
// operator sees; brought down its tasks are gone at once, and it is offered again once it is up. A
// drain gives tasks no more time than the operator does, and then gives the agent up.
func TestMesosMaintenance(t *testing.T) {
	_, hosts := mesosMachines(t, 1)
	h, k, m := hosts[0], &client{t: t, h: hosts[0], namespace: "default"}, newMasterAPI(t, hosts[0])
	aware, plain := mesosFramework(h, "aware"), mesosFramework(h, "plain")
	plain.Capabilities = []string{}
	hears := follows(t, aware)
	o := hears.offersOf(h)[h.Name]
	hears.launched(aware, o, "gone")
	loses := follows(t, plain)
	loses.launched(plain, loses.offersOf(h)[h.Name], "lost")

	machine := `{"hostname":"` + h.Name + `"}`
	window := fmt.Sprintf(`{"windows":[{"machine_ids":[%s],"unavailability":{"start":{"nanoseconds":%d}}}]}`, machine, time.Now().Add(time.Hour).UnixNano())
	m.call(200, `{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":`+window+`}}`, nil)
	var asked struct {
		Offers struct {
			Offers []struct {
				ID framework.Value
			} `json:"inverse_offers"`
		} `json:"inverse_offers"`
	}
	e := hears.next("INVERSE_OFFERS", func(e *framework.Event) bool { return e.Type == "INVERSE_OFFERS" })
	if err := json.Unmarshal(e.Record, &asked); err != nil || len(asked.Offers.Offers) != 1 || !strings.Contains(string(e.Record), `"unavailability"`) {
		t.Fatalf("asked %s, %v", e.Record, err)
	}
	must(t, aware.Call(t.Context(), "ACCEPT_INVERSE_OFFERS", map[string]any{"inverse_offer_ids": []framework.Value{asked.Offers.Offers[0].ID}, "filters": map[string]any{"refuse_seconds": 3600}}))
	await(t, h, 20*time.Second, "the operator sees the answer", func() error {
		var status struct {
			Of struct {
				Status struct {
					Draining []struct {
						Statuses []struct {
							Status      string
							FrameworkID framework.Value `json:"framework_id"`
						}
					} `json:"draining_machines"`
				}
			} `json:"get_maintenance_status"`
		}
		m.call(200, `{"type":"GET_MAINTENANCE_STATUS"}`, &status)
		for _, one := range status.Of.Status.Draining {
			for _, s := range one.Statuses {
				if s.Status == "ACCEPT" && s.FrameworkID.Value == aware.ID() {
					return nil
				}
			}
		}
		return fmt.Errorf("%w: %+v", errNotYet, status)
	})

	m.call(200, `{"type":"START_MAINTENANCE","start_maintenance":{"machines":[`+machine+`]}}`, nil)
	hears.comes("gone", "TASK_GONE", "REASON_AGENT_REMOVED")
	loses.comes("lost", "TASK_LOST", "REASON_AGENT_REMOVED")
	must(t, plain.Call(t.Context(), "TEARDOWN", nil))
	await(t, h, 20*time.Second, "their pods have gone", func() error {
		if left := k.must("get", "pods", "-o", "name"); left != "" {
			return fmt.Errorf("there are %s", left)
		}
		return nil
	})
	var status struct {
		Down []struct{ Hostname string } `json:"down_machines"`
	}
	if err := m.ask("GET", "/maintenance/status", "", 200, &status); err != nil || len(status.Down) != 1 || status.Down[0].Hostname != h.Name {
		t.Errorf("down are %+v, %v", status, err)
	}
	m.call(400, `{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":"`+o.AgentID.Value+`"}}}`, nil)
	m.call(200, `{"type":"STOP_MAINTENANCE","stop_maintenance":{"machines":[`+machine+`]}}`, nil)
	must(t, aware.Call(t.Context(), "REVIVE", nil))

	stubborn := map[string]any{
		"name": "stubborn", "task_id": framework.Value{Value: "stubborn"}, "agent_id": o.AgentID, "resources": []framework.Resource{framework.Scalar("cpus", 0.1), framework.Scalar("mem", 32)},
		"command": map[string]any{"value": "trap '' TERM; while :; do sleep 0.1; done"}, "kill_policy": map[string]any{"grace_period": map[string]any{"nanoseconds": 600e9}},
	}
	accept(t, aware, hears.offersOf(h)[h.Name], launchOf(stubborn))
	hears.comes("stubborn", "TASK_RUNNING", "")
	m.call(200, `{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"`+o.AgentID.Value+`"},"max_grace_period":{"seconds":2},"mark_gone":true}}`, nil)
	hears.comes("stubborn", "TASK_KILLED", "REASON_AGENT_DRAINING") // within the 40 s that a test waits
	await(t, h, 20*time.Second, "the agent is given up", func() error {
		if gone := k.must("get", "agents.mesos.trireme.dev", h.Name, "-o", "jsonpath={.spec.gone}"); gone != "true" {
			return fmt.Errorf("%w: %q", errNotYet, gone)
		}
		return nil
	})
	must(t, aware.Call(t.Context(), "RECONCILE", map[string]any{"tasks": []any{map[string]any{"task_id": framework.Value{Value: "other"}, "agent_id": o.AgentID}}}))
	hears.comes("other", "TASK_GONE_BY_OPERATOR", "REASON_RECONCILIATION")
}
