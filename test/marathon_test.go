package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	gomarathon "github.com/gambol99/go-marathon"

	"trireme/test/cluster"
)

// marathon is go-marathon's own client, and one for what it does not ask, both as a user
// with a token of the cluster.
type marathon struct {
	gomarathon.Marathon
	t     *testing.T
	h     *cluster.Host
	token string
	web   *http.Client
}

func newMarathon(t *testing.T, k *client) *marathon {
	t.Helper()
	k.must("create", "serviceaccount", "marathon")
	k.must("create", "clusterrolebinding", k.namespace, "--clusterrole=cluster-admin", "--serviceaccount="+k.namespace+":marathon")
	t.Cleanup(func() {
		_, _ = k.run(context.Background(), "", "delete", "clusterrolebinding", k.namespace) // it goes with its machine
	})
	m := &marathon{t: t, h: k.h, token: k.must("create", "token", "marathon"), web: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return k.h.Dial(ctx, network, address)
		},
	}}}
	config := gomarathon.NewDefaultConfig()
	config.URL, config.HTTPClient, config.PollingWaitTime = m.url(""), m.web, 100*time.Millisecond
	config.HTTPBasicAuthUser, config.HTTPBasicPassword, config.EventsTransport = "me", m.token, gomarathon.EventsTransportSSE
	var err error
	if m.Marathon, err = gomarathon.NewClient(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.web.CloseIdleConnections)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := k.run(context.Background(), "", "-n", "default", "describe", "pods,services,apps.marathon.trireme.dev", "-l", "marathon.trireme.dev/app")
			t.Logf("kubectl describe:\n%s", out)
		}
	})
	return m
}

func (m *marathon) url(path string) string {
	return "http://" + net.JoinHostPort(m.h.Address, "8080") + path
}

// ask sends a request as it is and returns the status, the headers and the body.
func (m *marathon) ask(method, path, body string, headers ...string) (int, http.Header, string) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(m.t.Context()), method, m.url(path), strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.SetBasicAuth("me", m.token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := m.web.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// says wants a status, and words in the body.
func (m *marathon) says(status int, words, method, path, body string) string {
	m.t.Helper()
	code, _, text := m.ask(method, path, body)
	if code != status || !strings.Contains(text, words) {
		m.t.Errorf("%s %s: %d %s; want %d and %q", method, path, code, text, status, words)
	}
	return text
}

// done waits for a deployment that a call began.
func (m *marathon) done(id *gomarathon.DeploymentID, err error) *gomarathon.DeploymentID {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.WaitOnDeployment(id.DeploymentID, 40*time.Second); err != nil {
		m.t.Fatalf("deployment %s: %v", id.DeploymentID, err)
	}
	return id
}

// create makes an app from JSON and waits until it is deployed.
func (m *marathon) create(app string) {
	m.t.Helper()
	code, header, text := m.ask("POST", "/v2/apps", app)
	if code != http.StatusCreated {
		m.t.Fatalf("POST /v2/apps: %d %s", code, text)
	}
	m.done(&gomarathon.DeploymentID{DeploymentID: header.Get("Marathon-Deployment-Id")}, nil)
}

// tasks returns the tasks of an app that run.
func (m *marathon) tasks(id string) []gomarathon.Task {
	m.t.Helper()
	all, err := m.Tasks(id)
	if err != nil {
		m.t.Fatal(err)
	}
	return all.Tasks
}

// sleeper is an app that runs for long.
func sleeper(id string, instances int, more string) string {
	return fmt.Sprintf(`{"id": %q, "cmd": "trap 'exit 0' TERM; sleep 1000 & wait", "instances": %d, "cpus": 0.01, "mem": 16,
		"container": {"type": "DOCKER", "docker": {"image": %q}}%s}`, id, instances, busybox, more)
}

// TestMarathonApps: go-marathon's own client creates an app, scales, updates, restarts and
// deletes it, and goes back; kubectl sees the same.
func TestMarathonApps(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	m := newMarathon(t, k)
	t.Cleanup(func() { _, _ = m.DeleteApplication("/mapps/web", true) })
	if up, err := m.Ping(); err != nil || !up {
		t.Fatal(err)
	}
	app := gomarathon.NewDockerApplication().Name("/mapps/web").CPU(0.01).Memory(16).Count(1).AddArgs("sleep", "1000").AddEnv("KEY", "one $(NOT)")
	app.Container.Docker.Container(busybox)
	made, err := m.CreateApplication(app)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WaitOnApplication("/mapps/web", 40*time.Second); err != nil {
		t.Fatal(err)
	}
	first := made.Version
	tasks := m.tasks("/mapps/web")
	if len(tasks) != 1 || tasks[0].State != "TASK_RUNNING" || tasks[0].Host == "" || len(tasks[0].Ports) != 1 || tasks[0].Ports[0] < 31000 || tasks[0].Ports[0] > 32000 {
		t.Fatalf("tasks: %+v", tasks)
	}
	env := k.must("-n", "default", "exec", k.must("-n", "default", "get", "pods", "-o", "name", "-l", "marathon.trireme.dev/app"), "--", "env")
	for _, want := range []string{
		fmt.Sprintf("PORT0=%d", tasks[0].Ports[0]), fmt.Sprintf("PORT=%d", tasks[0].Ports[0]), "MARATHON_APP_ID=/mapps/web", "MESOS_TASK_ID=" + tasks[0].ID,
		"MARATHON_APP_VERSION=" + first, "KEY=one $(NOT)", "MARATHON_APP_RESOURCE_MEM=16",
	} {
		if !strings.Contains(env, want+"\n") {
			t.Errorf("the task's environment has no %s:\n%s", want, env)
		}
	}
	m.done(m.ScaleApplicationInstances("mapps/web", 3, false))
	if tasks := m.tasks("/mapps/web"); len(tasks) != 3 {
		t.Errorf("after scaling: %+v", tasks)
	}
	update := gomarathon.NewDockerApplication().Name("/mapps/web").AddEnv("KEY", "two")
	update.Container = nil
	m.done(m.UpdateApplication(update, false))
	now, err := m.Application("/mapps/web")
	if err != nil || (*now.Env)["KEY"] != "two" || now.TasksRunning != 3 || *now.Instances != 3 {
		t.Errorf("after the update: %v %+v", err, now)
	}
	before := taskIDs(m.tasks("/mapps/web"))
	m.done(m.RestartApplication("/mapps/web", false))
	for id := range taskIDs(m.tasks("/mapps/web")) {
		if before[id] {
			t.Errorf("task %s outlived the restart", id)
		}
	}
	versions, err := m.ApplicationVersions("/mapps/web")
	if err != nil || len(versions.Versions) != 4 {
		t.Errorf("versions: %v %+v", err, versions)
	}
	m.done(m.SetApplicationVersion("/mapps/web", &gomarathon.ApplicationVersion{Version: first}))
	if now, err := m.Application("/mapps/web"); err != nil || (*now.Env)["KEY"] != "one $(NOT)" || *now.Instances != 1 {
		t.Errorf("after going back: %v %+v", err, now)
	}
	if out := k.must("-n", "default", "get", "apps.marathon.trireme.dev", "-o", "jsonpath={.items[*].spec.id}"); !strings.Contains(out, "/mapps/web") {
		t.Errorf("kubectl get apps: %s", out)
	}
	if _, err := m.KillTask(m.tasks("/mapps/web")[0].ID, &gomarathon.KillTaskOpts{Scale: true}); err != nil {
		t.Error(err)
	}
	m.done(m.DeleteApplication("/mapps/web", true))
	m.says(http.StatusNotFound, "App '/mapps/web' does not exist", "GET", "/v2/apps//mapps/web/", "")
}

func taskIDs(tasks []gomarathon.Task) map[string]bool {
	out := map[string]bool{}
	for _, t := range tasks {
		out[t.ID] = true
	}
	return out
}

// TestMarathonAnswers: bad input and conflicts have Marathon's answers.
func TestMarathonAnswers(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	m := newMarathon(t, k)
	t.Cleanup(func() { _, _ = m.DeleteApplication("/manswers/app", true) })
	m.says(http.StatusBadRequest, "Invalid JSON", "POST", "/v2/apps", `{"id":`)
	m.says(422, `"path":"/id"`, "POST", "/v2/apps", `{"id": "/Big", "cmd": "true"}`)
	m.says(422, "Object is not valid", "POST", "/v2/apps", `{"id": "/manswers/app"}`)
	m.says(422, `"path":"/cpus"`, "POST", "/v2/apps", sleeper("/manswers/app", 1, `, "cpus": 1e308`))
	m.says(422, `"path":"/mem"`, "POST", "/v2/apps", sleeper("/manswers/app", 1, `, "mem": -1`))
	m.says(422, `"path":"/instances"`, "POST", "/v2/apps", sleeper("/manswers/app", 1, `, "instances": "many"`))
	m.says(422, "tosses", "POST", "/v2/apps", sleeper("/manswers/app", 1, `, "tosses": true`))
	m.says(422, "cyclic", "PUT", "/v2/groups/manswers", `{"apps": [`+sleeper("a", 1, `, "dependencies": ["b"]`)+`,`+sleeper("b", 1, `, "dependencies": ["a"]`)+`]}`)
	m.says(http.StatusNotFound, "App '/nothing' does not exist", "DELETE", "/v2/apps/nothing", "")
	m.says(http.StatusNotFound, "App '/nothing' does not exist", "PATCH", "/v2/apps/nothing", `{"instances": 2}`)
	m.says(http.StatusMethodNotAllowed, "405", "PATCH", "/v2/leader", "")
	m.says(http.StatusOK, h.Address+":8080", "GET", "/v2/leader", "")
	m.says(http.StatusBadRequest, "text/event-stream", "GET", "/v2/events", "")
	m.create(sleeper("/manswers/app", 1, `, "env": {"A": "1"}`))
	m.says(http.StatusConflict, "already exists", "POST", "/v2/apps", sleeper("/manswers/app", 1, ""))
	// One that cannot run holds its lock.
	_, header, _ := m.ask("PUT", "/v2/apps/manswers/app", `{"cpus": 1000}`)
	locking := header.Get("Marathon-Deployment-Id")
	m.says(http.StatusConflict, locking, "PUT", "/v2/apps/manswers/app", `{"instances": 2}`)
	await(t, h, 20*time.Second, "the queue says why", func() error {
		_, _, text := m.ask("GET", "/v2/queue", "")
		if !strings.Contains(text, `{"reason":"InsufficientCpus","declined":1,"processed":1}`) {
			return fmt.Errorf("%w: %s", errNotYet, text)
		}
		return nil
	})
	var list []struct {
		ID   string `json:"id"`
		Apps []any  `json:"affectedApps"`
	}
	_, _, text := m.ask("GET", "/v2/deployments", "")
	if err := json.Unmarshal([]byte(text), &list); err != nil || !strings.Contains(text, locking) || !strings.Contains(text, "RestartApplication") {
		t.Errorf("deployments: %v %s", err, text)
	}
	// Going back makes another deployment, which ends.
	m.done(m.DeleteDeployment(locking, false))
	if now, err := m.Application("/manswers/app"); err != nil || now.CPUs != 0.01 || now.TasksRunning != 1 {
		t.Errorf("after going back: %v %+v", err, now)
	}
	m.token = "nonsense"
	if code, header, _ := m.ask("GET", "/v2/apps", ""); code != http.StatusUnauthorized || !strings.Contains(header.Get("WWW-Authenticate"), "Basic") {
		t.Errorf("a bad token: %d %v", code, header)
	}
}
