package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"trireme/internal/access"
	"trireme/internal/api/basic"
	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const (
	masterID = "u"
	fwID     = "u-0000"
)

// door is the API over a store with one agent "n1" (u-S0: 4 cpus, 8192 MB), one
// framework of role "web" with a task "t1" that runs and holds 1 cpu and 1024 MB, and
// one offer of the rest.
type door struct {
	t     testing.TB
	store *store.Store
	mux   http.Handler
	who   basic.Caller
}

func opened(t testing.TB) *door {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stored := make(chan error, 1)
	go func() { stored <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-stored
	})
	began := time.Unix(1700000000, 0)
	d := &door{t: t, store: s, who: basic.Caller{User: access.User{Name: "root", Groups: []string{access.Masters}}, Client: &rest.Config{Host: "https://door", Transport: kubernetes{s}}, Principal: "root"}}
	api, err := New(Config{
		Auth: basic.Auth{Realm: "mesos", Anonymous: &d.who, Identify: func(*http.Request) (basic.Caller, error) {
			return basic.Caller{}, kind.New(kind.Unauthenticated, "nobody")
		}},
		Store: s, Now: time.Now, Started: began, Release: "test", Flags: map[string]string{"cluster": "c1", "port": "5050"},
		Leader: func() *mesosv1.MasterInfo {
			return &mesosv1.MasterInfo{Id: proto.String(masterID), Ip: proto.Uint32(1), Port: proto.Uint32(5050), Pid: proto.String("master@10.0.0.9:5050"), Hostname: proto.String("m1")}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	d.mux = api.Handler()
	d.fill()
	return d
}

func (d *door) put(f func(tx *store.Tx) error) {
	d.t.Helper()
	if _, err := d.store.Update(d.t.Context(), f); err != nil {
		d.t.Fatal(err)
	}
}

func (d *door) fill() {
	now := metav1.NewTime(time.Unix(1700000100, 0))
	d.put(func(tx *store.Tx) error {
		system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem, UID: masterID}}
		tables.Namespaces.Put(tx, system)
		tables.Namespaces.Put(tx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "web"}})
		tables.Nodes.Put(tx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyRegion: "eu", corev1.LabelTopologyZone: "a"}},
			Status: corev1.NodeStatus{
				Addresses:   []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}},
				Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourceEphemeralStorage: resource.MustParse("10Gi")},
			},
		})
		a := &mesos.Agent{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: mesos.AgentStatus{ID: "u-S0", Registered: &now}}
		a.Spec.Attributes = []mesos.Message[*mesosv1.Attribute]{{M: &mesosv1.Attribute{Name: proto.String("rack"), Type: mesosv1.Value_TEXT.Enum(), Text: &mesosv1.Value_Text{Value: proto.String("r1")}}}}
		if err := tables.PutMesosAgent(tx, a); err != nil {
			return err
		}
		f := &mesos.Framework{ObjectMeta: metav1.ObjectMeta{Name: mesos.FrameworkName(fwID)}, Spec: mesos.FrameworkSpec{ID: fwID, User: "ann", Info: mesos.Message[*mesosv1.FrameworkInfo]{M: &mesosv1.FrameworkInfo{
			User: proto.String("root"), Name: proto.String("shop"), Roles: []string{"web"}, FailoverTimeout: proto.Float64(60), WebuiUrl: proto.String("http://shop"),
			Capabilities: []*mesosv1.FrameworkInfo_Capability{{Type: mesosv1.FrameworkInfo_Capability_MULTI_ROLE.Enum()}},
		}}}, Status: mesos.FrameworkStatus{Connected: true, Stream: "s", Registered: &now}}
		if err := tables.PutMesosFramework(tx, f); err != nil {
			return err
		}
		tables.MesosTasks.Put(tx, task("t1"))
		tables.MesosOffers.Put(tx, &mesos.Offer{ObjectMeta: metav1.ObjectMeta{Name: "u-O1"}, Framework: fwID, Role: "web", Node: "n1", Agent: "u-S0", Resources: scalarsOf("cpus", 3.0, "mem", 7168.0), Made: now.Time})
		tables.MesosOffers.Put(tx, &mesos.Offer{ObjectMeta: metav1.ObjectMeta{Name: "u-O2"}, Framework: fwID, Role: "web", Node: "n1", Agent: "u-S0", Resources: scalarsOf("cpus", 1.0), Made: now.Time, Refused: true, Until: now.Add(time.Hour)})
		return nil
	})
}

func task(id string) *mesos.Task {
	healthy := true
	return &mesos.Task{
		ObjectMeta: metav1.ObjectMeta{Namespace: fwID, Name: id}, Role: "web", Node: "n1", Agent: "u-S0", State: mesosv1.TaskState_TASK_RUNNING,
		Info: &mesosv1.TaskInfo{
			Name: proto.String("front"), TaskId: &mesosv1.TaskID{Value: &id}, AgentId: &mesosv1.AgentID{Value: proto.String("u-S0")}, Resources: scalarsOf("cpus", 1.0, "mem", 1024.0),
			Command: &mesosv1.CommandInfo{Value: proto.String("sleep 1"), User: proto.String("www")}, Labels: &mesosv1.Labels{Labels: []*mesosv1.Label{{Key: proto.String("k"), Value: proto.String("v")}}},
			Discovery: &mesosv1.DiscoveryInfo{Visibility: mesosv1.DiscoveryInfo_CLUSTER.Enum(), Name: proto.String("front"), Ports: &mesosv1.Ports{Ports: []*mesosv1.Port{{Number: proto.Uint32(31000)}}}},
			Limits:    map[string]*mesosv1.Value_Scalar{"mem": {Value: proto.Float64(2048)}},
		},
		Statuses: []*mesosv1.TaskStatus{{
			TaskId: &mesosv1.TaskID{Value: &id}, State: mesosv1.TaskState_TASK_RUNNING.Enum(), Timestamp: proto.Float64(1700000200.5), Healthy: &healthy, Uuid: []byte("0123456789abcdef"),
			ContainerStatus: &mesosv1.ContainerStatus{NetworkInfos: []*mesosv1.NetworkInfo{{IpAddresses: []*mesosv1.NetworkInfo_IPAddress{{IpAddress: proto.String("10.1.0.7")}}}}},
		}},
	}
}

func scalarsOf(all ...any) (list []*mesosv1.Resource) {
	for i := 0; i < len(all); i += 2 {
		list = append(list, scalar(all[i].(string), all[i+1].(float64)))
	}
	return list
}

func scalar(name string, n float64) *mesosv1.Resource {
	return &mesosv1.Resource{Name: &name, Type: mesosv1.Value_SCALAR.Enum(), Scalar: &mesosv1.Value_Scalar{Value: &n}}
}

// kubernetes stands for the Kubernetes door, for custom objects alone.
type kubernetes struct{ store *store.Store }

func (k kubernetes) RoundTrip(req *http.Request) (*http.Response, error) {
	words := strings.Split(strings.Trim(req.URL.Path, "/"), "/") // apis group version plural [name]
	reply := func(code int, body any) (*http.Response, error) {
		b, err := json.Marshal(body)
		return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(b)), Request: req}, err
	}
	say := func(code int, reason metav1.StatusReason) (*http.Response, error) {
		return reply(code, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: string(reason) + " " + req.URL.Path})
	}
	u := &unstructured.Unstructured{}
	if req.Method != http.MethodGet {
		if err := json.NewDecoder(req.Body).Decode(&u.Object); err != nil {
			return nil, err
		}
		words = append(words, u.GetName())
	}
	key := tables.CustomPlace{Group: words[1], Plural: words[3], Key: object.Key{Name: words[4]}}.CustomKey()
	row, there := tables.CustomObjects.Row(k.store.Snapshot(), key)
	switch {
	case req.Method != http.MethodPost && !there:
		return say(404, metav1.StatusReasonNotFound)
	case req.Method == http.MethodGet:
		return reply(200, row.Object())
	case req.Method == http.MethodPut && u.GetResourceVersion() != row.Object().GetResourceVersion():
		return say(409, metav1.StatusReasonConflict)
	case req.URL.Query().Get("dryRun") != "":
		return reply(200, u)
	}
	_, err := k.store.Update(req.Context(), func(tx *store.Tx) error {
		tables.CustomObjects.PutAt(tx, key, u.DeepCopy())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reply(200, u)
}

// do sends one request.
func (d *door) do(method, path, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	d.mux.ServeHTTP(w, r)
	return w
}

// call sends a call in JSON and returns the answer; it must have the status.
func (d *door) call(status int, text string) *master.Response {
	d.t.Helper()
	w := d.do("POST", "/api/v1", "application/json", text)
	if w.Code != status {
		d.t.Fatalf("%s: %d %s, want %d", text, w.Code, w.Body, status)
	}
	out := &master.Response{}
	if w.Code == 200 && w.Body.Len() > 0 {
		if err := codec.JSON.Parse(w.Body.Bytes(), out); err != nil {
			d.t.Fatalf("%s: %v", text, err)
		}
	}
	return out
}

// get returns the JSON of an older endpoint.
func (d *door) get(path string) map[string]any {
	d.t.Helper()
	w := d.do("GET", path, "", "")
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 {
		d.t.Fatalf("GET %s: %d %s %v", path, w.Code, w.Body, err)
	}
	return out
}

// at returns what is at a path of keys and indexes in JSON, as text.
func at(v any, path string) string {
	for word := range strings.SplitSeq(path, ".") {
		switch have := v.(type) {
		case map[string]any:
			v = have[word]
		case []any:
			i := int(word[0] - '0')
			if i >= len(have) {
				return "<none>"
			}
			v = have[i]
		}
	}
	return fmt.Sprint(v)
}

func (d *door) agent() *mesos.Agent {
	d.t.Helper()
	a, ok := tables.MesosAgent(d.store.Snapshot(), "n1")
	if !ok {
		d.t.Fatal("the agent has gone")
	}
	return a
}

func TestReading(t *testing.T) {
	d := opened(t)
	if v := d.call(200, `{"type":"GET_VERSION"}`).GetGetVersion().GetVersionInfo().GetVersion(); v != Version {
		t.Errorf("version %q", v)
	}
	if !d.call(200, `{"type":"GET_HEALTH"}`).GetGetHealth().GetHealthy() {
		t.Error("not healthy")
	}
	state := d.call(200, `{"type":"GET_STATE"}`).GetGetState()
	agents, frameworks, tasks := state.GetGetAgents().GetAgents(), state.GetGetFrameworks().GetFrameworks(), state.GetGetTasks().GetTasks()
	if len(agents) != 1 || len(frameworks) != 1 || len(tasks) != 1 {
		t.Fatalf("%d agents, %d frameworks, %d tasks", len(agents), len(frameworks), len(tasks))
	}
	a := agents[0]
	if a.GetPid() != "slave(1)@10.0.0.1:5051" || !a.GetActive() || a.GetAgentInfo().GetDomain().GetFaultDomain().GetZone().GetName() != "a" || a.GetAgentInfo().GetAttributes()[0].GetText().GetValue() != "r1" {
		t.Errorf("agent %v", a)
	}
	if u := a.GetAllocatedResources(); len(u) != 2 || u[0].GetScalar().GetValue() != 1 || u[0].GetAllocationInfo().GetRole() != "web" {
		t.Errorf("allocated %v", u)
	}
	f := frameworks[0]
	if f.GetFrameworkInfo().GetId().GetValue() != fwID || len(f.GetOffers()) != 1 || f.GetOffers()[0].GetAllocationInfo().GetRole() != "web" || !f.GetConnected() {
		t.Errorf("framework %v", f)
	}
	one := tasks[0]
	if one.GetUser() != "www" || one.GetResources()[0].GetAllocationInfo().GetRole() != "web" || one.GetStatusUpdateState() != mesosv1.TaskState_TASK_RUNNING || string(one.GetStatusUpdateUuid()) != "0123456789abcdef" {
		t.Errorf("task %v", one)
	}
	if r := d.call(200, `{"type":"GET_ROLES"}`).GetGetRoles().GetRoles(); len(r) != 2 || r[1].GetName() != "web" || r[1].GetResources()[0].GetScalar().GetValue() != 4 || r[1].GetFrameworks()[0].GetValue() != fwID {
		t.Errorf("roles %v", r)
	}
	if m := d.call(200, `{"type":"GET_MASTER"}`).GetGetMaster(); m.GetMasterInfo().GetHostname() != "m1" || m.GetStartTime() != 1700000000 {
		t.Errorf("master %v", m)
	}
}

func TestOlderEndpoints(t *testing.T) {
	d := opened(t)
	for path, want := range map[string]string{
		"id": "u", "version": Version, "leader": "master@10.0.0.9:5050", "pid": "master@10.0.0.9:5050", "hostname": "m1", "cluster": "c1", "leader_info.port": "5050", "activated_slaves": "1",
		"deactivated_slaves": "0", "unreachable_slaves": "0", "flags.port": "5050", "orphan_tasks": "[]", "unregistered_frameworks": "[]", "completed_frameworks": "[]", "recovered_slaves": "[]",
		"slaves.0.id": "u-S0", "slaves.0.pid": "slave(1)@10.0.0.1:5051", "slaves.0.hostname": "n1", "slaves.0.port": "5051", "slaves.0.attributes.rack": "r1", "slaves.0.resources.cpus": "4", "slaves.0.resources.mem": "8192",
		"slaves.0.resources.ports": "[31000-32000]", "slaves.0.used_resources.cpus": "1", "slaves.0.offered_resources.mem": "7168", "slaves.0.unreserved_resources.gpus": "0", "slaves.0.reserved_resources": "map[]",
		"slaves.0.active": "true", "slaves.0.registered_time": "1.7000001e+09",
		"frameworks.0.id": fwID, "frameworks.0.name": "shop", "frameworks.0.roles.0": "web", "frameworks.0.user": "root", "frameworks.0.webui_url": "http://shop", "frameworks.0.failover_timeout": "60",
		"frameworks.0.active": "true", "frameworks.0.recovered": "false", "frameworks.0.capabilities.0": "MULTI_ROLE", "frameworks.0.used_resources.cpus": "1", "frameworks.0.offers.0.id": "u-O1",
		"frameworks.0.tasks.0.id": "t1", "frameworks.0.tasks.0.slave_id": "u-S0", "frameworks.0.tasks.0.framework_id": fwID, "frameworks.0.tasks.0.state": "TASK_RUNNING", "frameworks.0.tasks.0.executor_id": "",
		"frameworks.0.tasks.0.resources.disk": "0", "frameworks.0.tasks.0.statuses.0.timestamp": "1.7000002005e+09", "frameworks.0.tasks.0.statuses.0.healthy": "true", "frameworks.0.tasks.0.labels.0.key": "k",
		"frameworks.0.tasks.0.statuses.0.container_status.network_infos.0.ip_addresses.0.ip_address": "10.1.0.7", "frameworks.0.tasks.0.discovery.visibility": "CLUSTER",
		"frameworks.0.tasks.0.discovery.ports.ports.0.number": "31000", "frameworks.0.tasks.0.limits.mem": "2048", "frameworks.0.tasks.0.user": "www", "frameworks.0.unreachable_tasks": "[]", "frameworks.0.completed_tasks": "[]",
	} {
		if got := at(d.get("/master/state"), path); got != want {
			t.Errorf("state: %s is %s, want %s", path, got, want)
		}
	}
	for path, want := range map[string]string{
		"/slaves?slave_id=other slaves": "[]", "/slaves slaves.0.id": "u-S0", "/frameworks frameworks.0.id": fwID, "/tasks tasks.0.id": "t1", "/tasks?limit=0 tasks": "[]", "/tasks?offset=1 tasks": "[]",
		"/tasks?task_id=t1&order=asc tasks.0.role": "web", "/state-summary slaves.0.TASK_RUNNING": "1", "/state-summary frameworks.0.slave_ids.0": "u-S0", "/state-summary slaves.0.framework_ids.0": fwID,
		"/roles roles.1.name": "web", "/roles roles.1.weight": "1", "/flags flags.cluster": "c1", "/version version": Version, "/maintenance/schedule": "map[]", "/maintenance/status": "map[]",
		"/metrics/snapshot master/elected": "1", "/metrics/snapshot master/slaves_active": "1", "/metrics/snapshot master/tasks_running": "1", "/metrics/snapshot master/outstanding_offers": "1",
		"/metrics/snapshot master/cpus_total": "4", "/metrics/snapshot master/cpus_percent": "0.25", "/metrics/snapshot allocator/mesos/roles/web/shares/dominant": "1",
		"/metrics/snapshot allocator/mesos/offer_filters/roles/web/active": "1", "/metrics/snapshot allocator/mesos/offer_filters/roles/*/active": "0",
	} {
		url, key, _ := strings.Cut(path, " ")
		got := fmt.Sprint(d.get(url))
		if key != "" {
			got = at(d.get(url), key)
		}
		if got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if w := d.do("GET", "/master/redirect", "", ""); w.Code != 307 || w.Header().Get("Location") != "//m1:5050" {
		t.Errorf("redirect: %d %s", w.Code, w.Header())
	}
	if w := d.do("GET", "/health", "", ""); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("health: %d %s", w.Code, w.Body)
	}
	if w := d.do("GET", "/tasks?limit=x", "", ""); w.Code != 400 || !strings.Contains(w.Body.String(), "limit") {
		t.Errorf("a bad limit: %d %s", w.Code, w.Body)
	}
}

func TestRefusals(t *testing.T) {
	d := opened(t)
	for text, want := range map[string]string{
		`{}`:                  "400 Failed to validate master::Call: Expecting 'type' to be present",
		`{"type":"NEW"}`:      "400 Failed to validate master::Call: Expecting 'type' to be present",
		`{"type":"UNKNOWN"}`:  "501 UNKNOWN is no call of this API",
		`{"type":"TEARDOWN"}`: "400 Failed to validate master::Call: Expecting 'teardown' to be present",
		`{"type":"READ_FILE","read_file":{"path":"/master/log","offset":0}}`:                                        "404 No such file or directory: /master/log (the manager's log is in its machine's journal)",
		`{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":0,"duration":{"nanoseconds":1}}}`:                 "200 ",
		`{"type":"TEARDOWN","teardown":{"framework_id":{"value":"x"}}}`:                                             "400 No framework found with specified ID: x",
		`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"x"}}}`:                                           "400 No agent found with ID x: GET_AGENTS lists those that are there",
		`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"u-S0"},"max_grace_period":{"seconds":-1}}}`:      "400 Failed to validate master::Call: 'drain_agent.max_grace_period' is negative or out of range",
		`{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"web","weight":0}]}}`:                   `400 weight_infos[0].weight: 0 for role "web" is not above 0`,
		`{"type":"START_MAINTENANCE","start_maintenance":{"machines":[{"hostname":"n1"}]}}`:                         "400 machine 'n1' () is not draining: put it into the schedule before it is brought down",
		`{"type":"REMOVE_QUOTA","remove_quota":{"role":"web"}}`:                                                     "400 Failed to remove quota: role 'web' has no quota set",
		`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"web","limits":{"cpus":{"value":0.5}}}]}}`: "400 Invalid quota configuration for role web: limit of cpus, 0.5, is below what it uses, 1 (force sets it all the same)",
		`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"w","guarantees":{"cpus":{"value":9}}}]}}`: "400 Invalid quota configuration: guarantees of cpus, 9 in all, are more than the cluster has, 4 (force sets them all the same)",
	} {
		w := d.do("POST", "/api/v1", "application/json", text)
		if got := fmt.Sprint(w.Code, " ", w.Body); got != want {
			t.Errorf("%s:\n%s\nwant %s", text, got, want)
		}
	}
}

// TestWhoMaySee: without rights there is nothing to see, and with those of a role its
// tasks.
func TestWhoMaySee(t *testing.T) {
	d := opened(t)
	d.who.User = access.User{Name: "ann"}
	state := d.call(200, `{"type":"GET_STATE"}`).GetGetState()
	if len(state.GetGetAgents().GetAgents())+len(state.GetGetFrameworks().GetFrameworks())+len(state.GetGetTasks().GetTasks()) > 0 {
		t.Errorf("a stranger sees %v", state)
	}
	d.put(func(tx *store.Tx) error {
		tables.ClusterRoles.Put(tx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "see"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"list"}, APIGroups: []string{mesos.Group.Group}, Resources: []string{"frameworks"}}}})
		tables.ClusterRoleBindings.Put(tx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "see"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "see"}, Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "ann"}}})
		return nil
	})
	state = d.call(200, `{"type":"GET_STATE"}`).GetGetState()
	if len(state.GetGetAgents().GetAgents()) != 0 || len(state.GetGetFrameworks().GetFrameworks()) != 1 || len(state.GetGetTasks().GetTasks()) != 0 {
		t.Errorf("who may list frameworks sees %v", state)
	}
}

// TestFollower: who does not lead answers of itself, and sends the rest to the leader.
func TestFollower(t *testing.T) {
	d := opened(t)
	leader := &mesosv1.MasterInfo{Id: proto.String(masterID), Ip: proto.Uint32(1), Port: proto.Uint32(5050), Hostname: proto.String("m2")}
	api, err := New(Config{
		Store: d.store, Now: time.Now, Started: time.Unix(1, 0), Leader: func() *mesosv1.MasterInfo { return leader }, Leads: func() bool { return false },
		Auth: basic.Auth{Realm: "mesos", Identify: func(*http.Request) (basic.Caller, error) { return basic.Caller{}, nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	d.mux = api.Handler()
	for path, want := range map[string]int{"/health": 200, "/version": 200, "/master/redirect": 307, "/flags": 401, "/state": 307, "/nothing": 404} {
		if w := d.do("GET", path, "", ""); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	if w := d.do("GET", "/master/slaves?slave_id=a%2Fb", "", ""); w.Header().Get("Location") != "//m2:5050/master/slaves?slave_id=a%2Fb" {
		t.Errorf("sent to %s", w.Header())
	}
	if w := d.do("GET", "/flags", "", ""); w.Header().Get("WWW-Authenticate") != `Basic realm="mesos"` {
		t.Errorf("asked by %s", w.Header())
	}
	leader = nil
	if w := d.do("POST", "/api/v1", "application/json", "{}"); w.Code != 503 || w.Body.String() != "No leader elected" {
		t.Errorf("without a leader: %d %s", w.Code, w.Body)
	}
}

// BenchmarkState is what a poll of 10,000 tasks costs.
func BenchmarkState(b *testing.B) {
	d := opened(b)
	d.put(func(tx *store.Tx) error {
		for i := range 10_000 {
			tables.MesosTasks.Put(tx, task(fmt.Sprint("task-", i)))
		}
		return nil
	})
	for name, send := range map[string]func() *httptest.ResponseRecorder{
		"state": func() *httptest.ResponseRecorder { return d.do("GET", "/state", "", "") },
		"GET_STATE": func() *httptest.ResponseRecorder {
			return d.do("POST", "/api/v1", "application/json", `{"type":"GET_STATE"}`)
		},
		"metrics": func() *httptest.ResponseRecorder { return d.do("GET", "/metrics/snapshot", "", "") },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w := send()
				if w.Code != 200 {
					b.Fatal(w.Code, w.Body)
				}
				b.SetBytes(int64(w.Body.Len()))
			}
		})
	}
}
