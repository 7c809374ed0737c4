package executor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/wire"
)

// node is a node's executors, with the test as their manager and their runtime.
type node struct {
	t   *testing.T
	x   *Executors
	url string

	mu       sync.Mutex
	tasks    map[object.Key]*wire.TaskUpdates
	messages []*wire.ExecutorMessage
	ended    []string
	has      bool
}

func (n *node) ReportTask(key object.Key, u *wire.TaskUpdates) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tasks[key] = u; u == nil {
		delete(n.tasks, key)
	}
}

func (n *node) ReportMessage(m *wire.ExecutorMessage) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.messages = append(n.messages, m)
}

func newNode(t *testing.T, dir string) *node {
	t.Helper()
	n := &node{t: t, tasks: map[object.Key]*wire.TaskUpdates{}, has: true}
	x, err := New(Config{
		Dir: dir, Session: func() Session { return n }, Has: func(types.UID) bool { return n.has },
		Agent: func(id string) *mesosv1.AgentInfo {
			return &mesosv1.AgentInfo{Hostname: proto.String("n1"), Id: &mesosv1.AgentID{Value: &id}}
		},
		End: func(_ types.UID, reason, _ string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.ended = append(n.ended, reason)
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(x)
	t.Cleanup(s.Close)
	n.x, n.url = x, s.URL
	return n
}

func order(task string, change ...func(*mesos.Order)) *mesos.Order {
	o := &mesos.Order{ObjectMeta: metav1.ObjectMeta{Namespace: "F", Name: task}, Agent: "A-S0", PodUID: "u", Pod: object.Key{Namespace: "ns", Name: "p"}}
	o.Framework.M = &mesosv1.FrameworkInfo{User: proto.String("root"), Name: proto.String("f"), Checkpoint: proto.Bool(true)}
	o.Executor.M = &mesosv1.ExecutorInfo{ExecutorId: &mesosv1.ExecutorID{Value: proto.String("e")}, FrameworkId: &mesosv1.FrameworkID{Value: proto.String("F")}}
	o.Info.M = &mesosv1.TaskInfo{Name: &task, TaskId: &mesosv1.TaskID{Value: &task}, AgentId: &mesosv1.AgentID{Value: proto.String("A-S0")}}
	for _, f := range change {
		f(o)
	}
	return o
}

// executorPod is the pod of the executor of the orders.
func executorPod() *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Annotations: map[string]string{
		mesos.ExecutorAnnotation: `{"executor_id":{"value":"e"}}`, mesos.FrameworkAnnotation: "F",
	}}}
	p.Spec.HostNetwork = true
	return p
}

func running() *corev1.PodStatus {
	return &corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
}

func (n *node) post(body string) (int, string) {
	n.t.Helper()
	r, err := http.Post(n.url, "application/json", strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// listener is an executor that has subscribed.
type listener struct {
	t    *testing.T
	r    *codec.Reader
	body io.Closer
}

func (n *node) subscribe(unacknowledged string) *listener {
	n.t.Helper()
	body := `{"type":"SUBSCRIBE","executor_id":{"value":"e"},"framework_id":{"value":"F"},"subscribe":{` + unacknowledged + `}}`
	r, err := http.Post(n.url, "application/json", strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { r.Body.Close() })
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json" {
		b, err := io.ReadAll(r.Body)
		n.t.Fatalf("subscribing: %s %q %s %v", r.Status, r.Header, b, err)
	}
	l := &listener{n.t, codec.NewReader(r.Body, 1<<20), r.Body}
	if e := l.next("SUBSCRIBED"); !strings.Contains(e, `"agent_info":{"hostname":"n1"`) || !strings.Contains(e, `"container_id":{"value":"u"}`) || !strings.Contains(e, `"framework_info":{"user":"root","name":"f","id":{"value":"F"}`) {
		n.t.Errorf("subscribed: %s", e)
	}
	return l
}

// next returns the next event, which has the type.
func (l *listener) next(typ string) string {
	l.t.Helper()
	b, err := l.r.Next()
	if err != nil {
		l.t.Fatalf("waiting for %s: %v", typ, err)
	}
	var e struct{ Type string }
	if err := json.Unmarshal(b, &e); err != nil || e.Type != typ {
		l.t.Fatalf("the event is %s, %v, want %s", b, err, typ)
	}
	return string(b)
}

const uuid1, uuid2 = "AAAAAAAAAAAAAAAAAAAAAQ==", "AAAAAAAAAAAAAAAAAAAAAg=="

func update(task, state, uuid string) string {
	return fmt.Sprintf(`{"type":"UPDATE","executor_id":{"value":"e"},"framework_id":{"value":"F"},"update":{"status":{"task_id":{"value":%q},"state":%q,"source":"SOURCE_EXECUTOR","uuid":%q}}}`, task, state, uuid)
}

// states returns what waits of a task, as the manager was told.
func (n *node) states(task string) string {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.tasks[object.Key{Namespace: "F", Name: task}]
	if u == nil {
		return "nothing"
	}
	var out []string
	for _, b := range u.Updates {
		s := &mesosv1.TaskStatus{}
		if err := proto.Unmarshal(b, s); err != nil {
			n.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %s %s", s.GetState(), s.GetReason(), s.GetAgentId().GetValue()))
	}
	return strings.Join(out, ", ")
}

func (n *node) says(task, want string) {
	n.t.Helper()
	if got := n.states(task); got != want {
		n.t.Errorf("of task %s waits %s, want %s", task, got, want)
	}
}

func uuidOf(last byte) []byte { return append(make([]byte, 15), last) }

// TestLife: an executor subscribes, is given its task, what it says is kept until it is
// acknowledged, messages go both ways, and a kill reaches it.
func TestLife(t *testing.T) {
	dir := t.TempDir()
	n := newNode(t, dir)
	n.x.Observe(executorPod(), running())
	if code, text := n.post(`{"type":"SUBSCRIBE","executor_id":{"value":"e"},"framework_id":{"value":"F"},"subscribe":{}}`); code != http.StatusServiceUnavailable {
		t.Errorf("before its first task has come: %d %s", code, text)
	}
	n.x.Order(order("t"))
	if code, text := n.post(update("t", "TASK_RUNNING", uuid1)); code != http.StatusForbidden || !strings.Contains(text, "not subscribed") {
		t.Errorf("not subscribed: %d %s", code, text)
	}
	l := n.subscribe("")
	l.next("LAUNCH")
	if code, text := n.post(update("t", "TASK_RUNNING", uuid1)); code != http.StatusAccepted {
		t.Fatalf("an update: %d %s", code, text)
	}
	if e := l.next("ACKNOWLEDGED"); !strings.Contains(e, uuid1) {
		t.Error(e)
	}
	n.says("t", "TASK_RUNNING REASON_COMMAND_EXECUTOR_FAILED A-S0")
	n.x.Order(order("t", func(o *mesos.Order) { o.Known, o.Waiting = [][]byte{uuidOf(1)}, [][]byte{uuidOf(1)} }))
	n.says("t", "TASK_RUNNING REASON_COMMAND_EXECUTOR_FAILED A-S0")
	n.x.Order(order("t", func(o *mesos.Order) { o.Known = [][]byte{uuidOf(1)} }))
	n.says("t", "")
	n.x.Message(&wire.ExecutorMessage{Framework: "F", Executor: "e", Data: []byte("hello")})
	if e := l.next("MESSAGE"); !strings.Contains(e, "aGVsbG8=") {
		t.Error(e)
	}
	if code, _ := n.post(`{"type":"MESSAGE","executor_id":{"value":"e"},"framework_id":{"value":"F"},"message":{"data":"aGk="}}`); code != http.StatusAccepted || len(n.messages) != 1 || string(n.messages[0].Data) != "hi" {
		t.Errorf("a message: %d, %v", code, n.messages)
	}
	if code, _ := n.post(`{"type":"HEARTBEAT","executor_id":{"value":"e"},"framework_id":{"value":"F"}}`); code != http.StatusAccepted {
		t.Errorf("a heartbeat: %d", code)
	}
	kill := order("t", func(o *mesos.Order) { o.Known, o.Kill, o.Grace = [][]byte{uuidOf(1)}, true, new(time.Duration) })
	n.x.Order(kill)
	n.x.Order(kill) // is told once
	if e := l.next("KILL"); !strings.Contains(e, `"kill_policy"`) {
		t.Error(e)
	}
	n.post(update("t", "TASK_KILLED", uuid2))
	l.next("ACKNOWLEDGED")
	n.x.Order(order("t", func(o *mesos.Order) { o.Known = [][]byte{uuidOf(1), uuidOf(2)} }))
	n.says("t", "nothing")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("a task that is over leaves %v, %v", left, err)
	}
	p := executorPod()
	p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	n.x.Observe(p, running())
	l.next("SHUTDOWN")
}

// TestRefusals: calls that break a rule get Mesos' answers.
func TestRefusals(t *testing.T) {
	n := newNode(t, t.TempDir())
	n.x.Observe(executorPod(), running())
	n.x.Order(order("t"))
	n.subscribe("")
	for _, tt := range []struct {
		body string
		code int
		says string
	}{
		{`{"type":"UPDATE"}`, 400, "Not initialized"}, {`{`, 400, "Failed to parse body into JSON"},
		{`{"executor_id":{"value":"e"},"framework_id":{"value":"F"}}`, 400, "Expecting 'type' to be present"},
		{`{"type":"SUBSCRIBE","executor_id":{"value":"e"},"framework_id":{"value":"F"}}`, 400, "'subscribe'"},
		{strings.Replace(update("t", "TASK_RUNNING", uuid1), `,"uuid":"`+uuid1+`"`, "", 1), 400, "Expecting 'uuid' to be present"},
		{strings.Replace(update("t", "TASK_RUNNING", uuid1), "SOURCE_EXECUTOR", "SOURCE_MASTER", 1), 400, "SOURCE_EXECUTOR"},
		{update("t", "TASK_STAGING", uuid1), 400, "TASK_STAGING"}, {update("t", "TASK_RUNNING", "AAAA"), 400, "UUID"},
		{strings.Replace(update("t", "TASK_RUNNING", uuid1), `"state"`, `"executor_id":{"value":"other"},"state"`, 1), 400, "does not match"},
		{strings.Replace(update("t", "TASK_RUNNING", uuid1), `"F"`, `"G"`, 1), 400, "Framework cannot be found"},
		{strings.Replace(update("t", "TASK_RUNNING", uuid1), `{"value":"e"}`, `{"value":"x"}`, 1), 400, "Executor cannot be found"},
	} {
		if code, text := n.post(tt.body); code != tt.code || !strings.Contains(text, tt.says) {
			t.Errorf("%s: %d %s, want %d %s", tt.body, code, text, tt.code, tt.says)
		}
	}
	p := executorPod()
	p.Spec.HostNetwork = false
	n.x.Observe(p, running())
	if code, text := n.post(update("t", "TASK_RUNNING", uuid1)); code != http.StatusForbidden {
		t.Errorf("from another address than its pod's: %d %s", code, text)
	}
}

// TestRestart: an agent that starts anew has what waits, and its executor goes on: what it was
// given is not given again, what it said and did not hear of is not doubled.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	n := newNode(t, dir)
	n.x.Observe(executorPod(), running())
	n.x.Order(order("t1"))
	n.x.Order(order("t2"))
	l := n.subscribe("")
	l.next("LAUNCH")
	l.next("LAUNCH")
	n.post(update("t1", "TASK_RUNNING", uuid1))
	l.next("ACKNOWLEDGED")
	// A crash in the middle of a record.
	f, err := os.OpenFile(filepath.Join(dir, journalName("F", "t1")), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("100\nUhalf"); err != nil {
		t.Fatal(err)
	}
	f.Close()

	n = newNode(t, dir)
	n.x.mu.Lock()
	for _, one := range n.x.tasks {
		n.x.reportLocked(one)
	}
	n.x.mu.Unlock()
	n.says("t1", "TASK_RUNNING REASON_COMMAND_EXECUTOR_FAILED A-S0")
	n.x.Observe(executorPod(), running())
	status := func(task, state, uuid string) string {
		return fmt.Sprintf(`{"status":{"task_id":{"value":%q},"state":%q,"source":"SOURCE_EXECUTOR","uuid":%q}}`, task, state, uuid)
	}
	l = n.subscribe(`"unacknowledged_updates":[` + status("t1", "TASK_RUNNING", uuid1) + `,` + status("t1", "TASK_FINISHED", uuid2) + `]`)
	l.next("ACKNOWLEDGED")
	l.next("ACKNOWLEDGED")
	if e := l.next("LAUNCH"); !strings.Contains(e, `"t2"`) { // it had not arrived
		t.Error(e)
	}
	n.says("t1", "TASK_RUNNING REASON_COMMAND_EXECUTOR_FAILED A-S0, TASK_FINISHED REASON_COMMAND_EXECUTOR_FAILED A-S0")
}

// TestEnds: tasks of an executor that ends have failed, with the reason; one that it never got
// and that is killed is told so.
func TestEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		status corev1.PodStatus
		want   string
	}{
		"exited":  {corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}}}}, "TASK_FAILED REASON_EXECUTOR_TERMINATED A-S0"},
		"memory":  {corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled"}}}}}, "TASK_FAILED REASON_CONTAINER_LIMITATION_MEMORY A-S0"},
		"silent":  {corev1.PodStatus{Phase: corev1.PodFailed, Reason: ReasonSilent}, "TASK_FAILED REASON_EXECUTOR_REGISTRATION_TIMEOUT A-S0"},
		"fetched": {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "FetchFailed"}, "TASK_FAILED REASON_CONTAINER_LAUNCH_FAILED A-S0"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, t.TempDir())
			n.x.Observe(executorPod(), running())
			n.x.Order(order("t"))
			n.x.Order(order("k", func(o *mesos.Order) { o.Kill = true }))
			n.says("k", "TASK_KILLED REASON_TASK_KILLED_DURING_LAUNCH A-S0")
			n.x.Observe(executorPod(), &tt.status)
			n.says("t", tt.want)
			n.x.Order(order("late"))
			n.says("late", "TASK_FAILED REASON_EXECUTOR_TERMINATED A-S0")
			if len(n.messages) != 1 || !n.messages[0].Ended {
				t.Errorf("messages: %v", n.messages)
			}
		})
	}
}

// TestTimeouts: an executor that does not subscribe is ended, sooner where it did before its
// agent started anew.
func TestTimeouts(t *testing.T) {
	dir := t.TempDir()
	n := newNode(t, dir)
	n.x.Order(order("t"))
	n.x.Observe(executorPod(), running())
	now := time.Now()
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{registerTimeout - time.Second, 0}, {registerTimeout + time.Second, 1}} {
		n.x.tick(now.Add(tt.after))
		if got := n.endings(tt.want); got != strings.Repeat(ReasonSilent, tt.want) {
			t.Errorf("after %s: %q", tt.after, got)
		}
	}
	n = newNode(t, dir)
	n.x.Observe(executorPod(), running())
	n.x.tick(time.Now().Add(reregisterTimeout + time.Second))
	if got := n.endings(1); got != ReasonAway {
		t.Errorf("after a restart: %q", got)
	}
	n = newNode(t, dir)
	n.has = false
	n.x.tick(time.Now())
	n.says("t", "TASK_FAILED REASON_EXECUTOR_TERMINATED A-S0")
}

// endings returns the reasons of pods that were ended, once there are so many.
func (n *node) endings(many int) string {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		n.mu.Lock()
		got := append([]string(nil), n.ended...)
		n.mu.Unlock()
		if len(got) >= many {
			return strings.Join(got, "")
		}
		<-tick.C
	}
	return "nothing"
}

// TestEnv: an executor finds what Mesos promises it.
func TestEnv(t *testing.T) {
	n := newNode(t, t.TempDir())
	n.x.Observe(executorPod(), &corev1.PodStatus{})
	if _, err := n.x.Env(executorPod(), "10.0.0.1:5051"); err == nil {
		t.Error("an executor whose framework is not known yet has an environment")
	}
	n.x.Order(order("t"))
	env, err := n.x.Env(executorPod(), "10.0.0.1:5051")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, one := range env {
		fmt.Fprintf(&b, "%s=%s\n", one.Key, one.Value)
	}
	for _, want := range []string{
		"MESOS_FRAMEWORK_ID=F\n", "MESOS_EXECUTOR_ID=e\n", "MESOS_AGENT_ENDPOINT=10.0.0.1:5051\n", "MESOS_SLAVE_PID=slave(1)@10.0.0.1:5051\n", "MESOS_CHECKPOINT=1\n",
		"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5secs\n", "MESOS_RECOVERY_TIMEOUT=15mins\n", "MESOS_SUBSCRIPTION_BACKOFF_MAX=2secs\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	for d, want := range map[time.Duration]string{5 * time.Second: "5secs", 1500 * time.Millisecond: "1500ms", 2 * time.Hour: "2hrs", 1: "1ns", 14 * 24 * time.Hour: "2weeks", 0: "0ns"} {
		if got := duration(d); got != want {
			t.Errorf("%d is %s, want %s", d, got, want)
		}
	}
}

// TestFinish: an executor that is to end has its time, and no more of it than it takes.
func TestFinish(t *testing.T) {
	n := newNode(t, t.TempDir())
	n.x.Finish(t.Context(), "u", time.Now().Add(time.Hour)) // it is no executor's
	n.x.Observe(executorPod(), running())
	n.x.Order(order("t"))
	n.x.Finish(t.Context(), "u", time.Now().Add(time.Hour)) // it does not listen
	l := n.subscribe("")
	n.x.Finish(t.Context(), "u", time.Now()) // its time is over
	l.body.Close()
	n.x.Finish(t.Context(), "u", time.Now().Add(time.Hour)) // it has hung up
}
