package dispatch_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/mesos/executor"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// executors are the real ones of a node, over a real session.
func (m *manager) executors(node string) (*executor.Executors, *wire.Client) {
	m.t.Helper()
	cert, pool := m.identity(node)
	var x *executor.Executors
	client, err := wire.NewClient(wire.ClientConfig{
		Managers: []string{m.addr}, TLS: func() *tls.Config { return wire.ClientTLS(cert, pool) }, Log: slog.New(slog.DiscardHandler),
		Node: func() *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}} }, Message: func(e *wire.ExecutorMessage) { x.Message(e) },
		Assign: func(_ context.Context, _ bool, items []wire.Item) error {
			for _, i := range items {
				if o, ok := i.Object.(*mesos.Order); ok {
					x.Order(o)
				} else if i.Table == mesos.OrdersTable {
					x.Cancel(i.Key)
				}
			}
			return nil
		},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	x, err = executor.New(executor.Config{
		Dir: m.t.TempDir(), Session: func() executor.Session { return client }, Has: func(types.UID) bool { return true }, End: func(types.UID, string, string) {},
		Agent: func(id string) *mesosv1.AgentInfo {
			return &mesosv1.AgentInfo{Hostname: &node, Id: &mesosv1.AgentID{Value: &id}}
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	m.t.Cleanup(func() { cancel(); <-done })
	return x, client
}

// TestExecutorWhole: a task goes from its row to its executor, what this says of it comes back
// into the row, and is let go of once it is acknowledged there; messages go both ways.
func TestExecutorWhole(t *testing.T) {
	m := newManager(t, time.Minute)
	x, _ := m.executors("n1")
	web := httptest.NewServer(x)
	defer web.Close()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", UID: "u", Annotations: map[string]string{
		mesos.ExecutorAnnotation: `{"executor_id":{"value":"e"}}`, mesos.FrameworkAnnotation: "f",
	}}}
	pod.Spec.HostNetwork = true
	x.Observe(pod, &corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}})
	m.update(func(tx *store.Tx) {
		f := &mesos.Framework{ObjectMeta: metav1.ObjectMeta{Name: "f"}}
		f.Spec.ID, f.Spec.Info.M = "f", &mesosv1.FrameworkInfo{User: proto.String("root"), Name: proto.String("f")}
		a := &mesos.Agent{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		a.Status.ID = "A-S0"
		if err := tables.PutMesosFramework(tx, f); err != nil {
			t.Fatal(err)
		}
		if err := tables.PutMesosAgent(tx, a); err != nil {
			t.Fatal(err)
		}
		tables.MesosTasks.Put(tx, &mesos.Task{
			ObjectMeta: metav1.ObjectMeta{Namespace: "f", Name: "t"}, Node: "n1", Agent: "A-S0", Custom: true, PodUID: "u",
			Info:     &mesosv1.TaskInfo{Name: proto.String("t"), TaskId: &mesosv1.TaskID{Value: proto.String("t")}, AgentId: &mesosv1.AgentID{Value: proto.String("A-S0")}},
			Executor: &mesosv1.ExecutorInfo{ExecutorId: &mesosv1.ExecutorID{Value: proto.String("e")}},
		})
	})
	m.awaitTasks(x, 1)
	const ids = `"executor_id":{"value":"e"},"framework_id":{"value":"f"}`
	resp, err := http.Post(web.URL, "application/json", strings.NewReader(`{"type":"SUBSCRIBE",`+ids+`,"subscribe":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := codec.NewReader(resp.Body, 1<<20)
	next := func(want string) {
		t.Helper()
		b, err := events.Next()
		var e struct{ Type string }
		if err != nil || json.Unmarshal(b, &e) != nil || e.Type != want {
			t.Fatalf("the executor is told %s, %v, want %s", b, err, want)
		}
	}
	next("SUBSCRIBED")
	next("LAUNCH")
	key := object.Key{Namespace: "f", Name: "t"}
	row := func(s *store.Snapshot) *mesos.Task { r, _ := tables.MesosTasks.Get(s, key); return r }
	for i, state := range []string{"TASK_RUNNING", "TASK_FINISHED"} {
		body := fmt.Sprintf(`{"type":"UPDATE",%s,"update":{"status":{"task_id":{"value":"t"},"state":%q,"source":"SOURCE_EXECUTOR","uuid":"AAAAAAAAAAAAAAAAAAAAA%d=="}}}`, ids, state, i)
		r, err := http.Post(web.URL, "application/json", strings.NewReader(strings.Replace(body, "A0==", "AA==", 1)))
		if err != nil || r.StatusCode != http.StatusAccepted {
			t.Fatalf("an update: %v, %v", r, err)
		}
		r.Body.Close()
		next("ACKNOWLEDGED")
		m.await(state, func(s *store.Snapshot) bool { return row(s).State.String() == state && len(row(s).Pending) == 1 })
		m.update(func(tx *store.Tx) { // as the door does where the framework acknowledges
			t, _ := tables.MesosTasks.Get(tx, key)
			t = t.Clone()
			t.Pending = nil
			tables.MesosTasks.Put(tx, t)
		})
	}
	m.awaitTasks(x, 0)
	m.d.ToExecutor("A-S0", "f", "e", []byte("hello"))
	next("MESSAGE")
}

// awaitTasks returns once the executor that is pod u has so many tasks.
func (m *manager) awaitTasks(x *executor.Executors, many int) {
	m.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 20000 {
		if len(x.Tasks("u")) == many {
			return
		}
		<-tick.C
	}
	m.t.Fatalf("the node has %d tasks, want %d", len(x.Tasks("u")), many)
}
