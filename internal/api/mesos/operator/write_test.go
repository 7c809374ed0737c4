package operator

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

func TestAgents(t *testing.T) {
	d := opened(t)
	d.call(200, `{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"u-S0"},"max_grace_period":{"seconds":5},"mark_gone":false}}`)
	if a := d.agent(); a.Spec.Drain == nil || a.Spec.Drain.MaxGrace.Duration != 5*time.Second || !a.Spec.Deactivated {
		t.Errorf("draining: %+v", a.Spec)
	}
	one := d.call(200, `{"type":"GET_AGENTS"}`).GetGetAgents().GetAgents()[0]
	if one.GetActive() || !one.GetDeactivated() || one.GetDrainInfo().GetState() != mesosv1.DrainState_DRAINING || one.GetDrainInfo().GetConfig().GetMaxGracePeriod().GetNanoseconds() != 5e9 {
		t.Errorf("draining: %v", one)
	}
	d.put(func(tx *store.Tx) error {
		tables.MesosTasks.Delete(tx, object.Key{Namespace: fwID, Name: "t1"})
		return nil
	})
	if got := d.call(200, `{"type":"GET_AGENTS"}`).GetGetAgents().GetAgents()[0].GetDrainInfo().GetState(); got != mesosv1.DrainState_DRAINED {
		t.Errorf("without tasks: %s", got)
	}
	d.call(200, `{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":"u-S0"}}}`)
	if a := d.agent(); a.Spec.Drain != nil || a.Spec.Deactivated {
		t.Errorf("reactivated: %+v", a.Spec)
	}
	d.call(200, `{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":"u-S0"}}}`)
	if a := d.agent(); !a.Spec.Deactivated || a.Spec.Drain != nil {
		t.Errorf("deactivated: %+v", a.Spec)
	}
	d.call(200, `{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"u-S0"}}}`)
	d.call(409, `{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"u-S0"}}}`)
	d.call(400, `{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":"u-S0"}}}`)
	if got := d.get("/state"); at(got, "slaves") != "[]" || at(got, "unreachable_slaves") != "0" {
		t.Errorf("gone, and there: %s", at(got, "slaves"))
	}
}

func TestMaintenance(t *testing.T) {
	d := opened(t)
	const window = `{"windows":[{"machine_ids":[{"hostname":"n1","ip":"10.0.0.1"}],"unavailability":{"start":{"nanoseconds":5},"duration":{"nanoseconds":7}}}]}`
	d.call(400, `{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":`+strings.Replace(window, "n1", "n7", 1)+`}}`)
	d.call(400, `{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":`+strings.Replace(window, `[{"hostname"`, `[{"ip":"10.0.0.1"},{"hostname"`, 1)+`}}`)
	if w := d.do("POST", "/maintenance/schedule", "", window); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	if got := at(d.get("/maintenance/schedule"), "windows.0.machine_ids.0.ip"); got != "10.0.0.1" {
		t.Errorf("the schedule names %s", got)
	}
	d.put(func(tx *store.Tx) error {
		tables.MesosOffers.Put(tx, &mesos.Offer{ObjectMeta: metav1.ObjectMeta{Name: "u-O2"}, Framework: fwID, Role: "web", Node: "n1", Agent: "u-S0", Inverse: true, Accepted: true, Unavailability: d.agent().Spec.Unavailability.M})
		return nil
	})
	status := d.call(200, `{"type":"GET_MAINTENANCE_STATUS"}`).GetGetMaintenanceStatus().GetStatus()
	if len(status.GetDrainingMachines()) != 1 || status.GetDrainingMachines()[0].GetStatuses()[0].GetStatus().String() != "ACCEPT" {
		t.Errorf("draining: %v", status)
	}
	if w := d.do("POST", "/master/machine/down", "", `[{"hostname":"n1"}]`); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	if a := d.agent(); !a.Spec.Down || !a.Spec.Deactivated || a.Spec.Drain != nil {
		t.Errorf("down: %+v", a.Spec)
	}
	d.call(400, `{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":{}}}`)
	d.call(400, `{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":"u-S0"}}}`)
	if got := at(d.get("/maintenance/status"), "down_machines.0.hostname"); got != "n1" {
		t.Errorf("down is %s", got)
	}
	d.call(200, `{"type":"STOP_MAINTENANCE","stop_maintenance":{"machines":[{"hostname":"n1"}]}}`)
	if a := d.agent(); a.Spec.Down || a.Spec.Deactivated || a.Spec.Drain != nil || a.Spec.Unavailability.M != nil {
		t.Errorf("up: %+v", a.Spec)
	}
	d.call(400, `{"type":"STOP_MAINTENANCE","stop_maintenance":{"machines":[]}}`)
}

func TestReservations(t *testing.T) {
	d := opened(t)
	const disk = `{"name":"disk","type":"SCALAR","scalar":{"value":100},"reservations":[{"type":"DYNAMIC","role":"web","principal":"root"}]`
	const plainDisk, volume = disk + `}`, disk + `,"disk":{"persistence":{"id":"v1","principal":"root"},"volume":{"container_path":"data","mode":"RW"}}}`
	send := func(status int, kind, part string) {
		t.Helper()
		d.call(status, `{"type":"`+kind+`","`+strings.ToLower(kind)+`":{"agent_id":{"value":"u-S0"},`+part+`}}`)
	}
	send(400, "RESERVE_RESOURCES", `"resources":[{"name":"disk","type":"SCALAR","scalar":{"value":100}}]`)
	send(400, "RESERVE_RESOURCES", `"resources":[]`)
	send(403, "RESERVE_RESOURCES", `"resources":[`+strings.Replace(plainDisk, `"root"`, `"eve"`, 1)+`]`)
	send(409, "RESERVE_RESOURCES", `"resources":[`+strings.Replace(plainDisk, `100`, `100000`, 1)+`]`)
	send(202, "RESERVE_RESOURCES", `"resources":[`+plainDisk+`]`)
	if got := d.get("/slaves"); at(got, "slaves.0.reserved_resources.web.disk") != "100" || at(got, "slaves.0.unreserved_resources.disk") != "10140" || at(got, "slaves.0.resources.disk") != "10240" {
		t.Errorf("reserved: %s", at(got, "slaves.0"))
	}
	send(409, "CREATE_VOLUMES", `"volumes":[`+strings.Replace(volume, `100`, `200`, 1)+`]`)
	send(202, "CREATE_VOLUMES", `"volumes":[`+volume+`]`)
	send(409, "CREATE_VOLUMES", `"volumes":[`+volume+`]`)
	send(409, "UNRESERVE_RESOURCES", `"resources":[`+plainDisk+`]`)
	// It grows by what else is reserved alike, and shrinks back.
	send(202, "RESERVE_RESOURCES", `"resources":[`+plainDisk+`]`)
	send(202, "GROW_VOLUME", `"volume":`+volume+`,"addition":`+plainDisk)
	grown := strings.Replace(volume, "100", "200", 1)
	if r := d.agent().Spec.Reserved; len(r) != 1 || r[0].M.GetScalar().GetValue() != 200 || r[0].M.GetDisk().GetPersistence().GetId() != "v1" {
		t.Errorf("grown: %v", r)
	}
	send(400, "SHRINK_VOLUME", `"volume":`+grown+`,"subtract":{"value":200}`)
	send(202, "SHRINK_VOLUME", `"volume":`+grown+`,"subtract":{"value":100}`)
	send(409, "DESTROY_VOLUMES", `"volumes":[`+grown+`]`)
	form := url.Values{"slaveId": {"u-S0"}, "volumes": {"[" + volume + "]"}}
	if w := d.do("POST", "/destroy-volumes", "application/x-www-form-urlencoded", form.Encode()); w.Code != 202 {
		t.Errorf("destroy by form: %d %s", w.Code, w.Body)
	}
	send(202, "UNRESERVE_RESOURCES", `"resources":[`+strings.Replace(plainDisk, "100", "200", 1)+`]`)
	if r := d.agent().Spec.Reserved; len(r) != 0 {
		t.Errorf("at the end there is reserved %v", r)
	}
	if w := d.do("POST", "/reserve", "application/x-www-form-urlencoded", "slaveId=u-S0"); w.Code != 400 || !strings.Contains(w.Body.String(), "'resources'") {
		t.Errorf("a form without resources: %d %s", w.Code, w.Body)
	}
}

func TestWeightsAndQuotas(t *testing.T) {
	d := opened(t)
	if w := d.do("PUT", "/weights", "", `[{"role":"web","weight":2.5},{"role":"a/b","weight":3}]`); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	if got := d.call(200, `{"type":"GET_WEIGHTS"}`).GetGetWeights().GetWeightInfos(); len(got) != 2 || got[0].GetRole() != "a/b" || got[1].GetWeight() != 2.5 {
		t.Errorf("weights %v", got)
	}
	d.call(200, `{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[
		{"role":"web","guarantees":{"cpus":{"value":1.5}},"limits":{"cpus":{"value":2.5},"mem":{"value":2048},"gpus":{"value":0},"disk":{"value":"Infinity"}}},
		{"role":"db","limits":{"cpus":{"value":1}}}]}}`)
	configs := d.call(200, `{"type":"GET_QUOTA"}`).GetGetQuota().GetStatus().GetConfigs()
	if len(configs) != 2 || configs[1].GetRole() != "web" || configs[1].GetGuarantees()["cpus"].GetValue() != 1.5 {
		t.Fatalf("quotas %v", configs)
	}
	if l := configs[1].GetLimits(); len(l) != 3 || l["cpus"].GetValue() != 2.5 || l["mem"].GetValue() != 2048 || l["gpus"] == nil || l["gpus"].GetValue() != 0 {
		t.Errorf("limits %v", l)
	}
	if got := d.get("/metrics/snapshot"); at(got, "allocator/mesos/quota/roles/web/resources/cpus/limit") != "2.5" {
		t.Error("no metric of the limit")
	}
	// One that cannot be set leaves the others as they were.
	d.call(400, `{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"db","limits":{"cpus":{"value":9}}},{"role":"x/y","limits":{"cpus":{"value":9}}}]}}`)
	if got := at(d.get("/quota"), "configs.0.limits.cpus.value"); got != "1" {
		t.Errorf("db's limit is %s", got)
	}
	const set = `{"role":"new","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":3}}]`
	if w := d.do("POST", "/quota", "", set+"}"); w.Code != 409 {
		t.Errorf("more than there is: %d %s", w.Code, w.Body)
	}
	if w := d.do("POST", "/quota", "", set+`,"force":true}`); w.Code != 200 {
		t.Errorf("with force: %d %s", w.Code, w.Body)
	}
	if w := d.do("POST", "/quota", "", set+`,"force":true}`); w.Code != 400 {
		t.Errorf("again: %d %s", w.Code, w.Body)
	}
	if w := d.do("DELETE", "/master/quota/new", "", ""); w.Code != 200 {
		t.Errorf("delete: %d %s", w.Code, w.Body)
	}
	if w := d.do("DELETE", "/quota/new", "", ""); w.Code != 400 {
		t.Errorf("delete again: %d %s", w.Code, w.Body)
	}
}

func TestTeardown(t *testing.T) {
	d := opened(t)
	if w := d.do("POST", "/teardown", "application/x-www-form-urlencoded", "frameworkId="+fwID); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	f, ok := tables.MesosFramework(d.store.Snapshot(), fwID)
	if !ok || f.Status.RemoveAt == nil || f.Status.RemoveAt.After(time.Now()) {
		t.Errorf("%+v", f.Status)
	}
}

// TestSubscribe follows a task, a framework and an agent through their lives.
func TestSubscribe(t *testing.T) {
	d := opened(t)
	server := httptest.NewServer(d.mux)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", server.URL+"/api/v1", strings.NewReader(`{"type":"SUBSCRIBE"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || resp.ContentLength != -1 {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	records := codec.NewReader(bufio.NewReader(resp.Body), 1<<20)
	next := func(want master.Event_Type) *master.Event {
		t.Helper()
		for {
			data, err := records.Next()
			if err != nil {
				t.Fatal(err)
			}
			e := &master.Event{}
			if err := codec.JSON.Parse(data, e); err != nil {
				t.Fatal(err)
			}
			if e.GetType() == want {
				return e
			}
			if e.GetType() != master.Event_HEARTBEAT {
				t.Fatalf("%v, want %s", e, want)
			}
		}
	}
	if s := next(master.Event_SUBSCRIBED).GetSubscribed(); len(s.GetGetState().GetGetTasks().GetTasks()) != 1 || s.GetHeartbeatIntervalSeconds() != 15 {
		t.Errorf("subscribed %v", s)
	}
	next(master.Event_HEARTBEAT)
	d.put(func(tx *store.Tx) error {
		tables.MesosTasks.Put(tx, task("t2"))
		return nil
	})
	if e := next(master.Event_TASK_ADDED); e.GetTaskAdded().GetTask().GetTaskId().GetValue() != "t2" {
		t.Errorf("added %v", e)
	}
	d.put(func(tx *store.Tx) error {
		ended := task("t2")
		ended.State = mesosv1.TaskState_TASK_FINISHED
		last := &mesosv1.TaskStatus{TaskId: ended.Info.TaskId, State: mesosv1.TaskState_TASK_FINISHED.Enum()}
		ended.Statuses = append(ended.Statuses, last)
		tables.MesosTasks.Put(tx, ended)
		return nil
	})
	if u := next(master.Event_TASK_UPDATED).GetTaskUpdated(); u.GetState() != mesosv1.TaskState_TASK_FINISHED || u.GetStatus().GetTaskId().GetValue() != "t2" || u.GetFrameworkId().GetValue() != fwID {
		t.Errorf("updated %v", u)
	}
	change := func(f func(*mesos.Framework), a func(*mesos.Agent)) {
		d.put(func(tx *store.Tx) error {
			if f != nil {
				now, _ := tables.MesosFramework(tx, fwID)
				f(now)
				return tables.PutMesosFramework(tx, now)
			}
			now, _ := tables.MesosAgent(tx, "n1")
			a(now)
			return tables.PutMesosAgent(tx, now)
		})
	}
	now := metav1.Now()
	change(func(f *mesos.Framework) { f.Status.Connected = false }, nil)
	if e := next(master.Event_FRAMEWORK_UPDATED); e.GetFrameworkUpdated().GetFramework().GetConnected() {
		t.Errorf("updated %v", e)
	}
	change(func(f *mesos.Framework) { f.Status.Removed = &now }, nil)
	if e := next(master.Event_FRAMEWORK_REMOVED); e.GetFrameworkRemoved().GetFrameworkInfo().GetId().GetValue() != fwID {
		t.Errorf("removed %v", e)
	}
	change(nil, func(a *mesos.Agent) { a.Status.Unreachable = &now })
	if e := next(master.Event_AGENT_REMOVED); e.GetAgentRemoved().GetAgentId().GetValue() != "u-S0" {
		t.Errorf("removed %v", e)
	}
	change(nil, func(a *mesos.Agent) { a.Status.Unreachable = nil })
	if e := next(master.Event_AGENT_ADDED); e.GetAgentAdded().GetAgent().GetAgentInfo().GetHostname() != "n1" {
		t.Errorf("added %v", e)
	}
}
