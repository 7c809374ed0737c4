package mesos

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/mesos/workdir"
	"trireme/internal/agent/stream"
	"trireme/internal/kind"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/object/sandbox"
	"trireme/internal/runtime"
)

// fakeNode has one task, in the namespace of "ann".
type fakeNode struct {
	runtime.Streams
	pods []*corev1.Pod
}

func (f *fakeNode) Pods() []*corev1.Pod                { return f.pods }
func (f *fakeNode) Sandbox(object.Key) (string, error) { return "", nil }
func (f *fakeNode) Container(pod object.Key, name string) (stream.Container, error) {
	return stream.Container{ID: "id", Running: true}, nil
}

func newServer(t *testing.T) (url, sandboxDir string) {
	t.Helper()
	keeper := workdir.New(workdir.Config{Dir: t.TempDir(), Has: func(types.UID) bool { return true }, Free: func() (float64, error) { return 1, nil }, Log: quiet()})
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "task", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")}, Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
	}}}}}
	p.Name, p.Namespace, p.UID = "p", "ann", "uid"
	p.Annotations = map[string]string{mesos.TaskAnnotation: `{"name":"sleep","task_id":{"value":"t1"},"agent_id":{"value":"A-S0"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1.5}}]}`}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "task", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	if err := sandbox.Set(p, sandbox.Place{Agent: "A-S0", Framework: "F", Executor: "t1"}, nil); err != nil {
		t.Fatal(err)
	}
	dir, _, err := keeper.Make(p)
	if err != nil {
		t.Fatal(err)
	}
	n := newExecer(t, fakeNode{pods: []*corev1.Pod{p}})
	s := New(Config{
		Node: "n1", Release: "test", Flags: map[string]string{"port": "5051"}, Agent: func() *mesosv1.AgentInfo { return &mesosv1.AgentInfo{Hostname: proto.String("n1")} },
		Pods: n, Runtime: n, Stop: func(context.Context, string, time.Duration) error { return nil }, Usage: func(*corev1.Pod) (uint64, uint64) { return 3e9, 4096 },
		Allowed: func(_ context.Context, authorization string, r Right) (bool, error) {
			if authorization == "" {
				return false, kind.New(kind.Unauthenticated, "nobody")
			}
			return strings.HasSuffix(authorization, "root") || r.Namespace == strings.TrimPrefix(authorization, "Bearer "), nil
		},
		Sandboxes: keeper, Executors: http.NotFoundHandler(), Tasks: func(types.UID) map[string]mesosv1.TaskState { return nil }, Log: quiet(),
	})
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return web.URL, dir
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func ask(t *testing.T, method, url, who, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if who != "" {
		req.Header.Set("Authorization", "Bearer "+who)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestState: everybody sees what they may, in both forms.
func TestState(t *testing.T) {
	base, dir := newServer(t)
	for _, tt := range []struct {
		method, path, who, body string
		code                    int
		has, not                string
	}{
		{"GET", "/health", "", "", 200, "", ""}, {"GET", "/version", "", "", 200, `"version":"` + Version + `"`, ""},
		{"POST", "/api/v1", "", `{"type":"GET_HEALTH"}`, 200, `"healthy":true`, ""},
		{"GET", "/state", "", "", 401, "nobody", ""}, {"POST", "/api/v1", "", `{"type":"GET_TASKS"}`, 401, "nobody", "t1"},
		{"POST", "/api/v1", "ann", `{"type":"GET_TASKS"}`, 200, `"launched_tasks":[{"name":"sleep","task_id":{"value":"t1"}`, ""},
		{"POST", "/api/v1", "bob", `{"type":"GET_TASKS"}`, 200, `"GET_TASKS"`, "t1"},
		{"POST", "/api/v1", "ann", `{"type":"GET_STATE"}`, 200, `TASK_RUNNING`, ""}, {"POST", "/api/v1", "ann", `{"type":"GET_EXECUTORS"}`, 200, `"executor_id":{"value":"t1"}`, ""},
		{"POST", "/api/v1", "ann", `{"type":"GET_FRAMEWORKS"}`, 200, `"id":{"value":"F"}`, ""}, {"POST", "/api/v1", "ann", `{"type":"GET_AGENT"}`, 200, `"hostname":"n1"`, ""},
		{"POST", "/api/v1", "ann", `{"type":"GET_CONTAINERS"}`, 200, `"mem_rss_bytes":4096`, ""}, {"POST", "/api/v1", "ann", `{"type":"GET_METRICS"}`, 200, `slave/tasks_running`, ""},
		{"GET", "/state", "ann", "", 200, `"directory":"` + dir + `"`, ""}, {"GET", "/slave(1)/state", "ann", "", 200, `"id":"t1"`, ""},
		{"GET", "/monitor/statistics", "ann", "", 200, `"cpus_user_time_secs":3`, ""}, {"GET", "/monitor/statistics", "ann", "", 200, `"cpus_limit":1.5`, ""},
		{"GET", "/monitor/statistics", "bob", "", 200, "[]", "t1"}, {"GET", "/containers", "ann", "", 200, `"container_id":"uid"`, ""},
		{"POST", "/api/v1", "ann", `{"type":"READ_FILE"}`, 400, "Expecting 'read_file' to be present", ""}, {"POST", "/api/v1", "ann", `{"type":"PRUNE_IMAGES"}`, 501, "PRUNE_IMAGES", ""},
		{"POST", "/api/v1", "ann", `{"type":"ATTACH_CONTAINER_INPUT"}`, 415, "application/recordio", ""},
		{"POST", "/api/v1", "bob", `{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"container_id":{"value":"uid"}}}`, 403, "exec", ""},
		{"POST", "/api/v1", "root", `{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{"container_id":{"value":"x","parent":{"value":"uid"}}}}`, 404, "cannot be found", ""},
		{"POST", "/api/v1", "ann", `{"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"x"}}}`, 400, "container_id.parent", ""},
		{"POST", "/api/v1", "ann", `{"type":"LAUNCH_NESTED_CONTAINER","launch_nested_container":{"container_id":{"value":"../x","parent":{"value":"uid"}},"command":{"value":"ls"}}}`, 400, "container_id.value", ""},
	} {
		code, body := ask(t, tt.method, base+tt.path, tt.who, tt.body)
		if code != tt.code || !strings.Contains(body, tt.has) || tt.not != "" && strings.Contains(body, tt.not) {
			t.Errorf("%s %s %s as %q: %d %s; want %d with %q, without %q", tt.method, tt.path, tt.body, tt.who, code, body, tt.code, tt.has, tt.not)
		}
	}
}

// TestFiles: files of a sandbox are read by all their names, and nothing else is.
func TestFiles(t *testing.T) {
	base, dir := newServer(t)
	secret := filepath.Join(t.TempDir(), "secret")
	for name, text := range map[string]string{filepath.Join(dir, "stdout"): "hello world", secret: "secret"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"out": secret, "up": "../../../../../../../../../etc/passwd", "in": "stdout"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	latest := filepath.Join(filepath.Dir(dir), "latest")
	virtual := "/slaves/A-S0/frameworks/F/executors/t1/runs/latest"
	for _, tt := range []struct {
		path, query, who string
		code             int
		has              string
	}{
		{"read", dir + "/stdout&offset=0&length=5", "ann", 200, `"data":"hello"`}, {"read", latest + "/stdout&offset=6", "ann", 200, `"data":"world"`},
		{"read", virtual + "/stdout", "ann", 200, `"offset":11`}, {"read", dir + "/in&offset=0", "ann", 200, "hello"},
		{"browse", latest, "ann", 200, latest + `/stdout"`}, {"download", dir + "/stdout", "ann", 200, "hello world"},
		{"read", dir + "/stdout&offset=0", "bob", 403, "pods/log"}, {"read", dir + "/stdout", "", 401, "nobody"},
		{"read", dir + "/out&offset=0", "ann", 400, ""}, {"read", dir + "/up&offset=0", "ann", 400, ""}, {"read", secret, "root", 404, "in no sandbox"},
		{"read", dir + "/../../../../../../../../../../etc/passwd", "root", 404, ""}, {"read", "/etc/passwd", "root", 404, ""}, {"read", "", "root", 400, "path"},
		{"read", filepath.Dir(dir) + "/../.namespace", "root", 404, ""}, {"read", dir + "/none", "ann", 404, "none"}, {"read", dir + "/stdout&offset=x", "ann", 400, "offset"},
		{"debug", "", "ann", 200, dir},
	} {
		path, rest, _ := strings.Cut(tt.query, "&")
		code, body := ask(t, "GET", base+"/files/"+tt.path+"?path="+url.QueryEscape(path)+"&"+rest, tt.who, "")
		if code != tt.code || !strings.Contains(body, tt.has) || strings.Contains(body, `"secret"`) || strings.Contains(body, "root:") {
			t.Errorf("%s of %s as %q: %d %s; want %d with %q", tt.path, tt.query, tt.who, code, body, tt.code, tt.has)
		}
	}
	_, body := ask(t, "POST", base+"/api/v1", "ann", `{"type":"READ_FILE","read_file":{"path":"`+dir+`/stdout","offset":6}}`)
	var got struct {
		ReadFile struct {
			Size int
			Data []byte
		} `json:"read_file"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.ReadFile.Size != 11 || string(got.ReadFile.Data) != "world" {
		t.Errorf("READ_FILE: %s", body)
	}
	if _, body := ask(t, "POST", base+"/api/v1", "ann", `{"type":"LIST_FILES","list_files":{"path":"`+dir+`"}}`); !strings.Contains(body, `"path":"`+dir+`/stdout"`) {
		t.Errorf("LIST_FILES: %s", body)
	}
}
