package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	gomarathon "github.com/gambol99/go-marathon"
)

// deployment sends a change, wants a status, and waits until it is deployed.
func (m *marathon) deployment(status int, method, path, body string) {
	m.t.Helper()
	code, header, text := m.ask(method, path, body)
	if code != status {
		m.t.Fatalf("%s %s: %d %s", method, path, code, text)
	}
	m.done(&gomarathon.DeploymentID{DeploymentID: header.Get("Marathon-Deployment-Id")}, nil)
}

// TestMarathonGroups: apps of a group follow by their dependencies, scale together, go back
// to a version and go together; the event stream tells of it.
func TestMarathonGroups(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	m := newMarathon(t, k)
	t.Cleanup(func() { _, _ = m.DeleteGroup("/mshop", true) })
	events, err := m.AddEventsListener(gomarathon.EventIDStatusUpdate | gomarathon.EventIDDeploymentSuccess | gomarathon.EventIDDeploymentInfo)
	if err != nil {
		t.Fatal(err)
	}
	defer m.RemoveEventsListener(events)
	group := `{"id": "/mshop", "groups": [
		{"id": "store", "apps": [` + sleeper("db", 1, "") + `]},
		{"id": "front", "dependencies": ["/mshop/store"], "apps": [` + sleeper("api", 1, "") + `,` + sleeper("web", 1, `, "dependencies": ["api"]`) + `]}]}`
	text := m.says(http.StatusOK, "steps", "PUT", "/v2/groups?dryRun=true", group)
	if want := `{"steps":[{"actions":[{"action":"StartApplication","app":"/mshop/front/api"},{"action":"StartApplication","app":"/mshop/front/web"},{"action":"StartApplication","app":"/mshop/store/db"}]},` +
		`{"actions":[{"action":"ScaleApplication","app":"/mshop/store/db"}]},{"actions":[{"action":"ScaleApplication","app":"/mshop/front/api"}]},{"actions":[{"action":"ScaleApplication","app":"/mshop/front/web"}]}]}`; strings.TrimSpace(text) != want {
		t.Errorf("the steps are %s", text)
	}
	m.deployment(http.StatusCreated, "POST", "/v2/groups", group)
	started := map[string]time.Time{}
	for _, app := range []string{"/mshop/store/db", "/mshop/front/api", "/mshop/front/web"} {
		tasks := m.tasks(app)
		if len(tasks) != 1 || tasks[0].State != "TASK_RUNNING" {
			t.Fatalf("%s: %+v", app, tasks)
		}
		if started[app], err = time.Parse(time.RFC3339, tasks[0].StartedAt); err != nil {
			t.Fatal(err)
		}
	}
	if started["/mshop/front/api"].Before(started["/mshop/store/db"]) || started["/mshop/front/web"].Before(started["/mshop/front/api"]) {
		t.Errorf("apps started before what they depend on: %v", started)
	}
	ran, succeeded := false, false
	for limit := time.After(10 * time.Second); !ran || !succeeded; {
		select {
		case e := <-events:
			switch e := e.Event.(type) {
			case *gomarathon.EventStatusUpdate:
				ran = ran || e.AppID == "/mshop/front/web" && e.TaskStatus == "TASK_RUNNING" && len(e.Ports) == 1 && e.Host != ""
			case *gomarathon.EventDeploymentSuccess:
				succeeded = succeeded || e.ID != ""
			}
		case <-limit:
			t.Fatalf("the stream has told of a task that runs: %t, of success: %t", ran, succeeded)
		}
	}
	had, err := m.Group("/mshop")
	if err != nil || len(had.Groups) != 2 {
		t.Fatalf("%v %+v", err, had)
	}
	var versions []string
	if err := json.Unmarshal([]byte(m.says(http.StatusOK, "[", "GET", "/v2/groups/mshop/versions", "")), &versions); err != nil || len(versions) != 1 {
		t.Fatalf("%v %v", err, versions)
	}
	m.deployment(http.StatusOK, "PUT", "/v2/groups/mshop", `{"groups": [{"id": "store", "apps": [`+sleeper("db", 2, "")+`]}]}`)
	m.says(http.StatusNotFound, "does not exist", "GET", "/v2/apps/mshop/front/api", "")
	m.deployment(http.StatusOK, "PUT", "/v2/groups/mshop", `{"version": "`+versions[0]+`"}`)
	m.says(http.StatusOK, `"/mshop/front/web"`, "GET", "/v2/apps/mshop/*", "")
	m.deployment(http.StatusOK, "PUT", "/v2/groups/mshop/store", `{"scaleBy": 2}`)
	if n := len(m.tasks("/mshop/store/db")); n != 2 {
		t.Errorf("after scaling the group its app has %d tasks", n)
	}
	m.done(m.DeleteGroup("/mshop", false))
	m.says(http.StatusNotFound, "Group '/mshop' does not exist", "GET", "/v2/groups/mshop", "")
}

// TestMarathonServes: an app with a health check is deployed when it is healthy; its service
// port answers on the node and its virtual host at ingress, all through a rolling restart.
func TestMarathonServes(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	m := newMarathon(t, k)
	t.Cleanup(func() { _, _ = m.DeleteApplication("/mserves", true) })
	m.create(`{"id": "/mserves", "instances": 2, "cpus": 0.01, "mem": 32, "container": {"docker": {"image": "trireme.local/web:1"}, "portMappings": [{"containerPort": 0, "servicePort": 10431}]},
		"networks": [{"mode": "container/bridge"}], "labels": {"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "mserves.test"},
		"healthChecks": [{"protocol": "HTTP", "path": "/healthz", "intervalSeconds": 1, "timeoutSeconds": 1}]}`)
	app, err := m.Application("/mserves")
	if err != nil || app.TasksHealthy != 2 {
		t.Fatalf("%v %+v", err, app)
	}
	if ok, err := m.ApplicationOK("/mserves"); err != nil || !ok {
		t.Errorf("the client says it is not well: %v", err)
	}
	service, host := "http://"+h.Address+":10431/healthz", fmt.Sprintf("http://%s:%d/healthz", h.Address, app.Tasks[0].Ports[0])
	for _, url := range []string{service, host} {
		await(t, h, 20*time.Second, url+" answers", func() error { _, err := curl(t.Context(), h, url); return err })
	}
	await(t, h, 20*time.Second, "the virtual host answers", func() error {
		_, err := h.Run(t.Context(), "curl", "-fsS", "--max-time", "2", "-H", "Host: mserves.test", "http://"+h.Address+"/healthz")
		return err
	})
	ctx, stop := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for ctx.Err() == nil {
			if _, err := curl(ctx, h, service); err != nil && ctx.Err() == nil {
				failed <- err
				return
			}
		}
	}()
	m.done(m.RestartApplication("/mserves", false))
	stop()
	if err := <-failed; err != nil {
		t.Errorf("the service was away while it was restarted: %v", err)
	}
	if code, _, text := m.ask("GET", "/v2/apps/mserves/tasks", "", "Accept", "text/plain"); code != http.StatusOK || !strings.HasPrefix(text, "mserves\t10431\t"+h.Address+":31") {
		t.Errorf("as text: %d %q", code, text)
	}
	m.done(m.DeleteApplication("/mserves", false))
}

// TestMarathonFails: an app whose instances end is delayed, and says how they ended; one
// without an image runs on the node; one with a volume finds what it wrote.
func TestMarathonFails(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	m := newMarathon(t, k)
	for _, id := range []string{"/mfails/ends", "/mfails/node", "/mfails/keeps"} {
		t.Cleanup(func() { _, _ = m.DeleteApplication(id, true) })
	}
	m.ask("POST", "/v2/apps", `{"id": "/mfails/ends", "cmd": "exit 3", "cpus": 0.01, "mem": 16, "backoffSeconds": 300, "container": {"docker": {"image": "`+busybox+`"}}}`)
	await(t, h, 20*time.Second, "the app is delayed", func() error {
		_, _, text := m.ask("GET", "/v2/queue", "")
		app, err := m.Application("/mfails/ends")
		if err != nil || app.LastTaskFailure == nil || app.LastTaskFailure.Message != "Command exited with status 3" || !strings.Contains(text, `"overdue":false`) {
			return fmt.Errorf("%w: %v %s", errNotYet, err, text)
		}
		return nil
	})
	if err := m.DeleteQueueDelay("/mfails/ends"); err != nil {
		t.Error(err)
	}
	m.create(`{"id": "/mfails/node", "cmd": "test -x /usr/bin/env && echo on $HOST as $MESOS_TASK_ID && sleep 1000", "cpus": 0.01, "mem": 32}`)
	task := m.tasks("/mfails/node")[0]
	pod := k.must("-n", "default", "get", "pods", "-o", "jsonpath={.items[?(@.metadata.annotations.mesos\\.trireme\\.dev/root)].metadata.name}", "-l", "marathon.trireme.dev/app")
	await(t, h, 10*time.Second, "the command says where it is", func() error {
		if out := k.must("-n", "default", "logs", pod); out != "on "+h.Address+" as "+task.ID {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})
	m.create(`{"id": "/mfails/keeps", "cmd": "cat /data/was; echo here > /data/was; sleep 1000", "cpus": 0.01, "mem": 16, "container": {"docker": {"image": "` + busybox + `"},
		"volumes": [{"containerPath": "/data", "mode": "RW", "persistent": {"size": 8}}]}}`)
	first := m.tasks("/mfails/keeps")[0].ID
	if _, err := m.KillTask(first, nil); err != nil {
		t.Error(err)
	}
	await(t, h, 30*time.Second, "another instance finds the file", func() error {
		tasks := m.tasks("/mfails/keeps")
		if len(tasks) != 1 || tasks[0].ID == first || tasks[0].State != "TASK_RUNNING" {
			return fmt.Errorf("%w: %+v", errNotYet, tasks)
		}
		pod := k.must("-n", "default", "get", "pods", "-l", "marathon.trireme.dev/slot", "-o", "jsonpath={.items[*].metadata.name}")
		if out := k.must("-n", "default", "logs", pod); out != "here" {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})
}

// TestMarathonPods: a pod of two containers runs, says how it stands, changes and goes.
func TestMarathonPods(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	m := newMarathon(t, k)
	t.Cleanup(func() { m.ask("DELETE", "/v2/pods/mpod?force=true", "") })
	if code, _, _ := m.ask("HEAD", "/v2/pods", ""); code != http.StatusOK {
		t.Errorf("HEAD /v2/pods: %d", code)
	}
	pod := func(env string) string {
		return `{"id": "/mpod", "environment": {"KEY": "` + env + `"}, "networks": [{"mode": "container/bridge"}], "containers": [
			{"name": "web", "image": {"kind": "DOCKER", "id": "trireme.local/web:1"}, "resources": {"cpus": 0.01, "mem": 32}, "endpoints": [{"name": "http", "containerPort": 8080, "hostPort": 0}],
			 "healthCheck": {"http": {"endpoint": "http", "path": "/healthz"}, "intervalSeconds": 1, "delaySeconds": 0}},
			{"name": "side", "image": {"kind": "DOCKER", "id": "` + busybox + `"}, "resources": {"cpus": 0.01, "mem": 16}, "exec": {"command": {"shell": "echo $KEY $EP_HOST_HTTP $MARATHON_CONTAINER_ID; sleep 1000"}}}]}`
	}
	m.deployment(http.StatusCreated, "POST", "/v2/pods", pod("one"))
	var status struct {
		Status    string `json:"status"`
		Instances []struct {
			ID         string `json:"id"`
			Status     string `json:"status"`
			Containers []struct {
				Name      string `json:"name"`
				Status    string `json:"status"`
				Endpoints []struct {
					Port    int   `json:"allocatedHostPort"`
					Healthy *bool `json:"healthy"`
				} `json:"endpoints"`
			} `json:"containers"`
		} `json:"instances"`
	}
	look := func() {
		t.Helper()
		if err := json.Unmarshal([]byte(m.says(http.StatusOK, "STABLE", "GET", "/v2/pods/mpod::status", "")), &status); err != nil || len(status.Instances) != 1 || len(status.Instances[0].Containers) != 2 {
			t.Fatalf("%v %+v", err, status)
		}
	}
	look()
	web := status.Instances[0].Containers[0]
	if web.Status != "TASK_RUNNING" || len(web.Endpoints) != 1 || web.Endpoints[0].Healthy == nil || !*web.Endpoints[0].Healthy {
		t.Fatalf("%+v", web)
	}
	name := k.must("-n", "default", "get", "pods", "-l", "marathon.trireme.dev/app=mpod", "-o", "jsonpath={.items[*].metadata.name}")
	if out := k.must("-n", "default", "logs", name, "-c", "side"); out != fmt.Sprintf("one %d side", web.Endpoints[0].Port) {
		t.Errorf("the container says %q", out)
	}
	first := status.Instances[0].ID
	m.deployment(http.StatusOK, "PUT", "/v2/pods/mpod", pod("two"))
	look()
	if status.Instances[0].ID == first {
		t.Error("the instance outlived the update")
	}
	m.says(http.StatusConflict, "already exists", "POST", "/v2/pods", pod("one"))
	m.says(422, `"path":"/containers"`, "POST", "/v2/pods", `{"id": "/other"}`)
	m.says(http.StatusNotFound, "App '/mpod' does not exist", "GET", "/v2/apps/mpod", "")
	m.says(http.StatusOK, first[:4], "DELETE", "/v2/pods/mpod::instances/"+status.Instances[0].ID, "")
	m.deployment(http.StatusAccepted, "DELETE", "/v2/pods/mpod", "")
	m.says(http.StatusNotFound, "Pod '/mpod' does not exist", "GET", "/v2/pods/mpod", "")
}
