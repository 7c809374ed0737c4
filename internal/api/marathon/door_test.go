package marathon

import (
	"encoding/json"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"trireme/internal/access"
	"trireme/internal/api/basic"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// forbids is a Kubernetes door that forbids all.
type forbids struct{}

func (forbids) RoundTrip(req *http.Request) (*http.Response, error) {
	status := metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: metav1.StatusReasonForbidden, Code: 403, Message: "forbidden: " + req.Method}
	b, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 403, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(string(b))), Request: req}, nil
}

// newDoor returns a door over an app, its instance, its group and its deployment in each of
// two namespaces. Callers are whom they name; the viewer may look at what is in loud.
func newDoor(t *testing.T) *Server {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Update(t.Context(), func(tx *store.Tx) error {
		tables.Nodes.Put(tx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}})
		for _, ns := range []string{"hush", "loud"} {
			putApp(t, tx, ns)
		}
		tables.ClusterRoles.Put(tx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "view"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}})
		tables.RoleBindings.Put(tx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "loud", Name: "view"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "viewer"}},
		})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	refusals := func(store.Reader, *corev1.Pod) iter.Seq2[string, []string] {
		return func(yield func(string, []string) bool) { _ = yield("n", []string{"Insufficient memory"}) }
	}
	d, err := New(s, Config{Listener: l, Address: "m:8080", Refusals: refusals, Auth: &basic.Auth{Realm: "marathon", Identify: func(req *http.Request) (basic.Caller, error) {
		name := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
		who := access.User{Name: name}
		if name == "admin" {
			who.Groups = []string{access.Masters}
		}
		if name == "nobody" {
			return basic.Caller{}, kind.New(kind.Unauthenticated, "who are you")
		}
		return basic.Caller{User: who, Key: name, Client: &rest.Config{Host: "https://door", Transport: forbids{}}}, nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func putApp(t *testing.T, tx *store.Tx, ns string) {
	t.Helper()
	id := "/" + ns + "/web"
	put := func(resource string, u *unstructured.Unstructured, name, namespace string) {
		u.SetName(name)
		u.SetNamespace(namespace)
		u.SetUID(types.UID(uuid.NewSHA1(uuid.Nil, []byte(resource+name)).String()))
		tables.CustomObjects.PutAt(tx, tables.MarathonKey(marathon.GroupVersion.WithResource(resource), object.Key{Namespace: namespace, Name: name}), u)
	}
	tree, err := marathon.Fields([]byte(`{"id": "` + id + `", "instances": 3, "container": {"docker": {"image": "i"}}, "labels": {"tier": "` + ns + `"}, "portDefinitions": [{"port": 10000, "name": "web"}], "readinessChecks": [{"name": "warm", "portName": "web"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	d, err := marathon.Parse(tree, "/")
	if err != nil {
		t.Fatal(err)
	}
	d.Version, d.Role = "2030-01-01T00:00:00.000Z", ns
	app, err := unstructuredOf(marathon.Apps, map[string]any{"spec": d})
	if err != nil {
		t.Fatal(err)
	}
	put("apps", app, marathon.Name(id), ns)
	group, err := unstructuredOf(marathon.Groups, map[string]any{"spec": marathon.GroupSpec{ID: "/" + ns, Version: d.Version}})
	if err != nil {
		t.Fatal(err)
	}
	put("groups", group, ns, "")
	deployment, err := unstructuredOf(marathon.Deployments, map[string]any{"spec": marathon.DeploymentSpec{
		Version: d.Version, Steps: []marathon.Step{{Actions: []marathon.Action{{Action: marathon.ScaleApplication, App: id, Namespace: ns, Version: d.Version}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	put("deployments", deployment, ns+"deployment", ns)
	yes := true
	for _, name := range []string{"runs", "waits"} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: ns + name, UID: types.UID(uuid.NewString()), Labels: map[string]string{marathon.AppLabel: marathon.Name(id)},
			Annotations: map[string]string{object.PortAnnotation(0): "31007", marathon.VersionAnnotation: d.Version}, CreationTimestamp: metav1.Now(),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "marathon.trireme.dev/v1", Kind: "App", Name: marathon.Name(id), UID: app.GetUID(), Controller: &yes}},
		}, Spec: corev1.PodSpec{SchedulerName: "default-scheduler", Containers: []corev1.Container{{Name: "task"}}}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
		if name == "runs" {
			pod.Spec.NodeName, pod.Status.Phase = "n", corev1.PodRunning
		} else {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes are available: 1 Insufficient memory."}}
		}
		tables.Pods.Put(tx, pod)
	}
}

func ask(t *testing.T, d *Server, who, method, path, body string) (int, string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	req.SetBasicAuth("me", who)
	w := httptest.NewRecorder()
	d.serve(w, req)
	return w.Code, w.Body.String()
}

// TestSight: whoever asks sees what they may, and writes as themselves.
func TestSight(t *testing.T) {
	d := newDoor(t)
	for _, path := range []string{
		"/v2/apps?embed=apps.tasks", "/v2/apps/loud/web", "/v2/apps/hush/web", "/v2/apps/hush/*", "/v2/apps/hush/web/tasks", "/v2/apps/hush/web/versions", "/v2/groups", "/v2/groups/hush",
		"/v2/deployments", "/v2/deployments/hushdeployment", "/v2/tasks", "/v2/queue", "/v2/pods", "/metrics", "/v2/info",
	} {
		_, all := ask(t, d, "admin", http.MethodGet, path, "")
		_, some := ask(t, d, "viewer", http.MethodGet, path, "")
		asked := strings.Count(path, "hush")
		if strings.Contains(path, "hush") && asked > 0 && strings.Contains(some, `"tier":"hush"`) || asked == 0 && strings.Contains(some, "hush") {
			t.Errorf("%s: the viewer sees %s", path, some)
		}
		if strings.HasPrefix(path, "/v2/apps") && !strings.Contains(all, "tier") && !strings.Contains(all, "tasks") && !strings.Contains(all, "versions") {
			t.Errorf("%s: the admin sees %s", path, all)
		}
	}
	for _, one := range []struct{ method, path, body string }{
		{"POST", "/v2/apps", `{"id": "/new", "cmd": "x"}`}, {"PUT", "/v2/apps/loud/web", `{"cpus": 3}`}, {"DELETE", "/v2/apps/loud/web", ""}, {"POST", "/v2/apps/loud/web/restart", ""},
		{"DELETE", "/v2/groups/loud", ""}, {"DELETE", "/v2/deployments/louddeployment?force=true", ""}, {"DELETE", "/v2/apps/loud/web/tasks", ""}, {"DELETE", "/v2/queue/loud/web/delay", ""},
	} {
		path := one.path
		if !strings.Contains(path, "?") {
			path += "?force=true"
		}
		if code, text := ask(t, d, "viewer", one.method, path, one.body); code != http.StatusForbidden {
			t.Errorf("%s %s: %d %s", one.method, one.path, code, text)
		}
	}
	if code, _ := ask(t, d, "viewer", "DELETE", "/v2/apps/hush/web", ""); code != http.StatusNotFound {
		t.Errorf("what is not seen is deleted: %d", code)
	}
	if code, _ := ask(t, d, "nobody", "GET", "/v2/apps", ""); code != http.StatusUnauthorized {
		t.Errorf("nobody: %d", code)
	}
	if code, text := ask(t, d, "nobody", "GET", "/ping", ""); code != http.StatusOK || text != "pong\n" {
		t.Errorf("/ping: %d %s", code, text)
	}
}

func TestShown(t *testing.T) {
	d := newDoor(t)
	for _, tt := range []struct{ path, want string }{
		{"/v2/apps//loud/web/", `"tasksRunning":1`}, {"/v2/apps/loud/web", `"ports":[31007]`}, {"/v2/apps/loud/web", `"servicePorts":[10000]`}, {"/v2/apps/loud/web", `"deployments":[{"id":"louddeployment"}]`},
		{"/service/marathon/v2/apps/loud/web", `"id":"/loud/web"`}, {"/marathon/v2/apps?label=tier%3D%3Dloud", `"id":"/loud/web"`}, {"/v2/apps?id=web", "/hush/web"}, {"/v2/apps?label=tier%20notin%20(loud)", "/hush/web"},
		{"/v2/queue", `"count":2`}, {"/v2/queue", `{"reason":"InsufficientMemory","declined":1,"processed":1}`}, {"/v2/queue?embed=lastUnusedOffers", `"hostname":"n","resources":[{"name":"cpus","role":"*","scalar":0}`}, {"/v2/queue?embed=lastUnusedOffers", `"reason":["InsufficientMemory"]`},
		{"/v2/deployments", `"currentActions":[{"action":"ScaleApplication","app":"/hush/web","readinessCheckResults":[{"name":"warm","ready":false,"taskId":"hush_web.instance-`},
		{"/v2/groups/loud", `"id":"/loud/web"`}, {"/v2/groups?embed=group.groups", `"apps":[]`}, {"/v2/groups/loud/versions", `["2030-01-01T00:00:00.000Z"]`}, {"/v2/leader", `"m:8080"`},
		{"/v2/tasks?status[]=running", "TASK_RUNNING"}, {"/v2/tasks?status=staging", `{"tasks":[]}`}, {"/metrics/prometheus", "marathon_apps_active 2"}, {"/v2/nothing", "is not served"},
	} {
		if _, text := ask(t, d, "admin", "GET", tt.path, ""); !strings.Contains(text, tt.want) {
			t.Errorf("%s: %s; want %s", tt.path, text, tt.want)
		}
	}
	if code, text := ask(t, d, "admin", "PUT", "/v2/apps/loud/web", `{"cpus": 2}`); code != http.StatusConflict || !strings.Contains(text, `"deployments":[{"id":"louddeployment"}]`) {
		t.Errorf("a locked app: %d %s", code, text)
	}
	if code, text := ask(t, d, "admin", "PUT", "/v2/groups/loud?dryRun=true", `{"apps": []}`); code != http.StatusOK || !strings.Contains(text, `{"action":"StopApplication","app":"/loud/web"}`) {
		t.Errorf("a dry run: %d %s", code, text)
	}
}

func TestRejections(t *testing.T) {
	summary, nodes, declined := rejections("0/7 nodes are available: 1 Insufficient cpu, 2 Insufficient memory, 1 node(s) didn't meet the placement constraints, 1 node(s) were unschedulable.")
	var got []string
	for _, r := range summary {
		if r.Declined > 0 {
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(b))
		}
	}
	want := []string{
		`{"reason":"UnfulfilledConstraint","declined":1,"processed":7}`, `{"reason":"InsufficientCpus","declined":1,"processed":6}`,
		`{"reason":"InsufficientMemory","declined":2,"processed":5}`, `{"reason":"AgentMaintenance","declined":1,"processed":3}`,
	}
	if d := cmp.Diff(want, got); d != "" || nodes != 7 || declined != 5 || len(summary) != 10 {
		t.Errorf("%d nodes, %d declined (-want +got):\n%s", nodes, declined, d)
	}
}

// TestDeploymentEvents: each step that ends is told, and the end once.
func TestDeploymentEvents(t *testing.T) {
	at := func(step int32, state string) *marathon.Deployment {
		d := &marathon.Deployment{Spec: marathon.DeploymentSpec{Steps: []marathon.Step{{}, {}}}}
		d.Status.Step, d.Status.State = step, state
		return d
	}
	for _, tt := range []struct {
		was, now *marathon.Deployment
		there    bool
		want     string
	}{
		{nil, at(0, ""), true, "deployment_info"},
		{at(0, ""), at(1, ""), true, "deployment_step_success deployment_info"},
		{at(0, ""), at(2, marathon.Succeeded), true, "deployment_step_success deployment_info deployment_step_success deployment_success"},
		{at(1, ""), at(1, marathon.Failed), true, "deployment_failed"},
		{at(2, marathon.Succeeded), at(2, marathon.Succeeded), false, ""},
		{at(1, ""), at(1, ""), false, "deployment_failed"},
	} {
		var got []string
		for _, e := range deploymentEvents(tt.was, tt.now, tt.there) {
			got = append(got, e.kind)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%v → %v: %v, want %s", tt.was, tt.now, got, tt.want)
		}
	}
	if _, rest := find(split("//v2//apps/a//b/")); !slices.Equal(rest, []string{"a", "b"}) {
		t.Errorf("the rest of a path is %v", rest)
	}
}
