package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/test/cluster"
)

// rough is a framework that says what it likes, on a stream of its own.
type rough struct {
	t          *testing.T
	h          *cluster.Host
	web        *http.Client
	id, stream string
	events     *codec.Reader
}

const roughInfo = `{"user":"root","name":"rough","failover_timeout":60,"capabilities":[{"type":"PARTITION_AWARE"}]%s}`

func newRough(t *testing.T, h *cluster.Host) *rough {
	t.Helper()
	r := &rough{t: t, h: h, web: &http.Client{Transport: &http.Transport{DialContext: h.Dial}}}
	t.Cleanup(r.web.CloseIdleConnections)
	resp := r.post("application/json", []byte(`{"type":"SUBSCRIBE","subscribe":{"framework_info":`+fmt.Sprintf(roughInfo, "")+`}}`), nil)
	t.Cleanup(func() { resp.Body.Close() })
	r.stream, r.events = resp.Header.Get("Mesos-Stream-Id"), codec.NewReader(resp.Body, 1<<22)
	r.id = r.next(scheduler.Event_SUBSCRIBED).GetSubscribed().GetFrameworkId().GetValue()
	return r
}

func (r *rough) post(media string, body []byte, header http.Header) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.h.Address+":5050/api/v1/scheduler", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", media)
	resp, err := r.web.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp
}

// answered posts a call, which gets the status and words that begin so.
func (r *rough) answered(name, media string, body []byte, header http.Header, want string) {
	r.t.Helper()
	resp := r.post(media, body, header)
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if got := fmt.Sprintf("%d %s", resp.StatusCode, text); err != nil || !strings.HasPrefix(got, want) {
		r.t.Errorf("%s: %q, %v, want %q", name, got, err, want)
	}
}

// next returns the next event of the type, passing over others.
func (r *rough) next(want scheduler.Event_Type) *scheduler.Event {
	r.t.Helper()
	for {
		record, err := r.events.Next()
		if err != nil {
			r.t.Fatalf("waiting for %s: %v", want, err)
		}
		e := &scheduler.Event{}
		if err := codec.ParseJSON(bytes.Clone(record), e); err != nil {
			r.t.Fatal(err)
		}
		if e.GetType() == want {
			return e
		}
	}
}

// badTask is a task in Mesos' JSON that is to be an error with words that begin so, changed
// where JSON cannot say what is wrong.
type badTask struct {
	id, resources, rest, want string
	change                    func(*mesosv1.TaskInfo)
}

const (
	cpusAndMem = `{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},{"name":"mem","type":"SCALAR","scalar":{"value":32}}`
	sleeps     = `"command":{"value":"sleep 1000"},"container":{"type":"DOCKER","docker":{"image":"` + busybox + `"}}`
)

func cpus(value string) string {
	return `{"name":"cpus","type":"SCALAR","scalar":{"value":` + value + `}}`
}

// amounts makes the first resource so much.
func amounts(v float64) func(*mesosv1.TaskInfo) {
	return func(t *mesosv1.TaskInfo) { t.Resources[0].Scalar.Value = &v }
}

func badTasks() []badTask {
	name := func(id, want string) badTask { return badTask{id, cpusAndMem, sleeps, want, nil} }
	asks := func(id, resources, want string) badTask { return badTask{id, resources, sleeps, want, nil} }
	says := func(id, rest, want string) badTask { return badTask{id, cpusAndMem, rest, want, nil} }
	const invalid, folder = "Task uses invalid resources: ", " cannot be the name of a folder"
	return []badTask{
		name("../../../../tmp/escaped", `task_id: "../../../../tmp/escaped"`+folder), name("..", `task_id: ".."`+folder), name("a/b", `task_id: "a/b"`+folder),
		name(`a\b`, `task_id: "a\\b"`+folder), name("line\nbreak", `task_id: "line\nbreak"`+folder), name("nul\x00", `task_id: "nul\x00"`+folder),
		name(strings.Repeat("x", 300), "task_id has 300 bytes: at most 2"), name("good", "Task has duplicate ID: good"),
		asks("negative", cpus("-1"), invalid), asks("nothing", cpus("0"), "Task uses"), asks("none", "", "Task uses no resources"),
		asks("huge", cpus("1e308"), invalid), asks("everything", cpus("100000"), "Task uses more resources"),
		asks("another-name", `{"name":"../cpus","type":"SCALAR","scalar":{"value":1}}`, "Task uses"),
		asks("ports", `{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":9,"end":3}]}}`, invalid),
		asks("all-ports", `{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":0,"end":18446744073709551615}]}}`, "Task uses"),
		asks("no-value", `{"name":"cpus","type":"SCALAR"}`, invalid),
		{"nan", cpusAndMem, sleeps, invalid, amounts(math.NaN())}, {"infinite", cpusAndMem, sleeps, invalid, amounts(math.Inf(1))},
		{"minus-infinite", cpusAndMem, sleeps, invalid, amounts(math.Inf(-1))}, {"tiny", cpus("0.1"), sleeps, "Task uses no resources", amounts(math.SmallestNonzeroFloat64)},
		says("volume", strings.TrimSuffix(sleeps, "}")+`,"volumes":[{"mode":"RW","container_path":"/x","host_path":"../../etc"}]}`, "container.volumes[0]"),
		says("sandbox", strings.TrimSuffix(sleeps, "}")+`,"volumes":[{"mode":"RW","container_path":"/x","source":{"type":"SANDBOX_PATH","sandbox_path":{"type":"SELF","path":"../../../x"}}}]}`, "container.volumes[0]"),
		says("uri", `"command":{"value":"true","uris":[{"value":"file:///bin/true","output_file":"../../../escaped"}]}`, "command.uris[0].output_file"),
		says("variable", `"command":{"value":"true","environment":{"variables":[{"name":"A=B","value":"x"}]}}`, "command.environment.variables[0].name"),
		says("executor", `"executor":{"executor_id":{"value":"../escaped"},"command":{"value":"true"}}`, `executor.executor_id: "../escaped"`+folder),
		says("both", `"command":{"value":"true"},"executor":{"executor_id":{"value":"e"},"command":{"value":"true"}}`, "Task should have at least one (but not both)"),
		says("agent", sleeps+`,"max_completion_time":{"nanoseconds":-1}`, "max_completion_time"),
		says("grace", sleeps+`,"kill_policy":{"grace_period":{"nanoseconds":-1}}`, "kill_policy.grace_period"),
		says("limit", sleeps+`,"limits":{"cpus":{"value":-1}}`, "limits: cpus"),
	}
}

// TestMesosBadInput: what cannot be is answered as it is documented, nothing of it is left, and a
// framework that behaves goes on.
func TestMesosBadInput(t *testing.T) {
	_, hosts := mesosMachines(t, 1)
	h, k := hosts[0], &client{t: t, h: hosts[0], namespace: "default"}
	good := mesosFramework(h, "good")
	hears := follows(t, good)
	offer := hears.offersOf(h)[h.Name]
	bad := newRough(t, h)
	bad.misaddressed(good.ID())

	accept := func(offer string, operations ...string) []byte {
		return []byte(`{"type":"ACCEPT","framework_id":{"value":"` + bad.id + `"},"accept":{"offer_ids":[{"value":"` + offer + `"}],"filters":{"refuse_seconds":0},"operations":[` + strings.Join(operations, ",") + `]}}`)
	}
	task := func(b badTask) string {
		id, err := json.Marshal(b.id)
		must(t, err)
		return fmt.Sprintf(`{"name":"bad","task_id":{"value":%s},"agent_id":{"value":%q},"resources":[%s],%s}`, id, offer.AgentID.Value, b.resources, b.rest)
	}
	launch := func(tasks ...string) string {
		return `{"type":"LAUNCH","launch":{"task_infos":[` + strings.Join(tasks, ",") + `]}}`
	}
	for _, foreign := range []string{offer.ID.Value, "nobody's", "../" + offer.ID.Value} {
		bad.answered("a foreign offer", "application/json", accept(foreign, launch(task(badTask{id: "foreign", resources: cpusAndMem, rest: sleeps}))), bad.header(), "202")
		if s := bad.next(scheduler.Event_UPDATE).GetUpdate().GetStatus(); s.GetState() != mesosv1.TaskState_TASK_DROPPED || s.GetReason() != mesosv1.TaskStatus_REASON_INVALID_OFFERS || s.Uuid != nil {
			t.Errorf("a task on offer %s: %v", foreign, s)
		}
	}
	hears.launched(good, offer, "goes-on") // its offer is its own still

	all := badTasks()
	texts := []string{task(badTask{id: "good", resources: cpusAndMem, rest: sleeps})}
	for _, b := range all {
		texts = append(texts, task(b))
	}
	mine := bad.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0].GetId().GetValue()
	call := &scheduler.Call{}
	must(t, codec.ParseJSON(accept(mine, launch(texts...), `{"type":"RESERVE","id":{"value":"op-1"},"reserve":{"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":-1},"role":"../x"}]}}`,
		`{"type":"CREATE","id":{"value":"op-2"},"create":{"volumes":[{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"persistence":{"id":"../../x"},"volume":{"container_path":"../../x","mode":"RW"}}}]}}`,
		`{"type":"SHRINK_VOLUME","id":{"value":"op-3"},"shrink_volume":{"volume":{"name":"disk","type":"SCALAR","scalar":{"value":1}},"subtract":{"value":1e308}}}`), call))
	for i, b := range all {
		if b.change != nil {
			b.change(call.Accept.Operations[0].Launch.TaskInfos[i+1])
		}
	}
	body, err := proto.Marshal(call)
	must(t, err)
	bad.answered("all that is wrong", "application/x-protobuf", body, bad.header(), "202")
	told := map[string]*mesosv1.TaskStatus{}
	for len(told) < len(all) { // one of the id "good" runs, too
		s := bad.next(scheduler.Event_UPDATE).GetUpdate().GetStatus()
		if s.GetTaskId().GetValue() == "good" && s.GetState() != mesosv1.TaskState_TASK_ERROR {
			continue
		}
		told[s.GetTaskId().GetValue()] = s
	}
	for _, b := range all {
		s := told[b.id]
		if s.GetState() != mesosv1.TaskState_TASK_ERROR || s.GetReason() != mesosv1.TaskStatus_REASON_TASK_INVALID || !strings.HasPrefix(s.GetMessage(), b.want) || s.Uuid != nil {
			t.Errorf("%q: %v %v %q, want TASK_ERROR %q", b.id, s.GetState(), s.GetReason(), s.GetMessage(), b.want)
		}
	}
	bad.nothingLeft(k, good.ID())

	// It holds what it is offered, and does not answer.
	bad.answered("its end", "application/json", []byte(`{"type":"TEARDOWN","framework_id":{"value":"`+bad.id+`"}}`), bad.header(), "202")
	must(t, good.Call(t.Context(), "REVIVE", nil))
	again := hears.offersOf(h)[h.Name]
	hears.launched(good, again, "goes-on-too")
}

func (r *rough) header() http.Header { return http.Header{"Mesos-Stream-Id": {r.stream}} }

// misaddressed makes calls that are not the framework's to make, or no calls.
func (r *rough) misaddressed(other string) {
	r.t.Helper()
	revive := func(id string) []byte { return []byte(`{"type":"REVIVE","framework_id":{"value":"` + id + `"}}`) }
	subscribe := func(more string) []byte {
		return []byte(`{"type":"SUBSCRIBE","subscribe":{"framework_info":` + fmt.Sprintf(roughInfo, more) + `}}`)
	}
	stream := func(id string) http.Header { return http.Header{"Mesos-Stream-Id": {id}} }
	const js = "application/json"
	deep := []byte(strings.Repeat(`{"accept":`, 100000))
	for name, c := range map[string]struct {
		media  string
		body   []byte
		header http.Header
		want   string
	}{
		"no stream":           {js, revive(r.id), nil, "400 All non-subscribe calls should include the 'Mesos-Stream-Id' header"},
		"wrong stream":        {js, revive(r.id), stream("x"), "400 The stream ID 'x' included in this request didn't match"},
		"another's framework": {js, revive(other), stream(r.stream), "400 The stream ID '" + r.stream + "' included in this request didn't match"},
		"a path as an id":     {js, revive("../" + r.id), stream(r.stream), "400 Framework cannot be found"},
		"an endless stream":   {js, revive(r.id), stream(strings.Repeat("x", 4<<20)), "431"},
		"a path subscribes":   {js, []byte(`{"type":"SUBSCRIBE","framework_id":{"value":"../x"},"subscribe":{"framework_info":` + fmt.Sprintf(roughInfo, `,"id":{"value":"../x"}`) + `}}`), nil, "200 "},
		"a role that is none": {js, subscribe(`,"role":"../../kube-system"`), nil, "200 "},
		"no JSON":             {js, []byte(`{"type":`), nil, "400 Failed to parse body into JSON"},
		"deep JSON":           {js, deep, nil, "400 Failed to "},
		"no protobuf":         {"application/x-protobuf", []byte("\xff\xff\xff\xff\xff\xff"), nil, "400 Failed to parse body into Call protobuf"},
		"records":             {"application/recordio", []byte("99999999999999999999\n{}"), nil, "415"},
		"a short uuid":        {js, []byte(`{"type":"ACKNOWLEDGE","framework_id":{"value":"` + r.id + `"},"acknowledge":{"agent_id":{"value":"x"},"task_id":{"value":"x"},"uuid":"AAAA"}}`), stream(r.stream), "400 Failed to validate scheduler::Call: Not a valid UUID"},
		"no update's uuid":    {js, []byte(`{"type":"ACKNOWLEDGE","framework_id":{"value":"` + r.id + `"},"acknowledge":{"agent_id":{"value":"x"},"task_id":{"value":"x"},"uuid":"AAAAAAAAAAAAAAAAAAAAAA=="}}`), stream(r.stream), "202"},
		"nobody's task":       {js, []byte(`{"type":"KILL","framework_id":{"value":"` + r.id + `"},"kill":{"task_id":{"value":"../x"}}}`), stream(r.stream), "202"},
	} {
		r.answered(name, c.media, c.body, c.header, c.want)
	}
	for { // what KILL of a task that is not there is answered with
		if s := r.next(scheduler.Event_UPDATE).GetUpdate().GetStatus(); s.GetTaskId().GetValue() == "../x" {
			break
		}
	}
	for path, want := range map[string]string{
		"/files/read?path=" + url.QueryEscape("/etc/passwd"): "404", "/files/browse?path=/": "404",
		"/files/download?path=" + url.QueryEscape(filepath.Join(r.h.Root, "mesos/slaves/../../admin.kubeconfig")): "404",
		"/files/read?path=" + url.QueryEscape("slaves/a/frameworks/b/executors/c/runs/../../../../../../../etc"):  "404",
	} {
		resp, err := r.web.Get("http://" + r.h.Address + ":5051" + path)
		if err != nil {
			r.t.Fatal(err)
		}
		resp.Body.Close()
		if got := fmt.Sprint(resp.StatusCode); got != want {
			r.t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// nothingLeft says what is left of tasks that could not be: rows, pods, folders.
func (r *rough) nothingLeft(k *client, good string) {
	t, h := r.t, r.h
	t.Helper()
	var state struct {
		Tasks struct {
			Tasks, Completed []struct {
				ID struct{ Value string } `json:"task_id"`
			}
		} `json:"get_tasks"`
	}
	newMasterAPI(t, h).call(200, `{"type":"GET_TASKS"}`, &state)
	for _, one := range append(state.Tasks.Tasks, state.Tasks.Completed...) {
		if !slices.Contains([]string{"good", "goes-on"}, one.ID.Value) {
			t.Errorf("there is a task %q", one.ID.Value)
		}
	}
	for _, pod := range strings.Fields(k.must("get", "pods", "-A", "-l", "mesos.trireme.dev/framework", "-o", "name")) {
		if !strings.HasPrefix(pod, "pod/good-") && !strings.HasPrefix(pod, "pod/goes-on-") {
			t.Errorf("there is %s", pod)
		}
	}
	if out := k.must("get", "frameworks.mesos.trireme.dev", "-o", "jsonpath={.items[*].spec.id}"); len(strings.Fields(out)) != 2 {
		t.Errorf("frameworks: %s", out)
	}
	await(t, h, 20*time.Second, "the good task's sandbox is there", func() error {
		have, err := filepath.Glob(filepath.Join(h.Root, "mesos/slaves/*/frameworks/*/executors/*"))
		if err == nil && len(have) != 2 {
			err = fmt.Errorf("%w: %v", errNotYet, have)
		}
		return err
	})
	for _, escaped := range []string{"/tmp/escaped", filepath.Join(h.Root, "escaped"), filepath.Join(h.Root, "mesos/escaped")} {
		if _, err := os.Lstat(escaped); err == nil {
			t.Errorf("there is %s", escaped)
		}
	}
	if out := k.must("get", "agents.mesos.trireme.dev", "-o", "jsonpath={.items[*].spec.reserved}"); out != "" {
		t.Errorf("reserved is %s", out)
	}
}
