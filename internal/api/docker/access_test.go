package docker

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"trireme/internal/access"
	"trireme/internal/api/caller"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
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

// newDoor returns a door over a store of two stacks, each with a service, its task and what
// it uses, on one node; the callers are who the request's header says.
func newDoor(t *testing.T) (*Server, map[string][]string) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{}
	_, err = s.Update(t.Context(), func(tx *store.Tx) error {
		tables.Nodes.Put(tx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "hushnode", UID: types.UID(uuid.NewString()), Labels: map[string]string{"hushlabel": ""}}})
		for _, stack := range []string{"hush", "loud"} {
			putStack(t, tx, stack, names)
		}
		tables.ClusterRoles.Put(tx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "view"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}})
		tables.RoleBindings.Put(tx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "loud", Name: "view"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "viewer"}},
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d, err := New(s, Config{Listener: l, Owner: Caller{Client: &rest.Config{}}, Node: "hushnode", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return d, names
}

// putStack makes the objects of a stack and adds what they may be asked for by.
func putStack(t *testing.T, tx *store.Tx, stack string, names map[string][]string) {
	meta := func(kind string) metav1.ObjectMeta {
		m := metav1.ObjectMeta{Namespace: stack, Name: stack + kind, UID: types.UID(uuid.NewString())}
		names[stack] = append(names[stack], m.Name, ours.ID(m.UID))
		return m
	}
	tables.Namespaces.Put(tx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: stack}})
	spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: stack + "service", Labels: map[string]string{ours.StackLabel: stack}}, TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: stack + "image"}}}
	tree, err := ours.Tree(spec)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": tree}}
	u.SetGroupVersionKind(ours.Kind)
	m := meta("service")
	u.SetNamespace(stack)
	u.SetName(m.Name)
	u.SetUID(m.UID)
	tables.CustomObjects.PutAt(tx, tables.SwarmKey(object.KeyOf(u)), u)
	yes := true
	pod := &corev1.Pod{ObjectMeta: meta("pod"), Spec: corev1.PodSpec{NodeName: "hushnode", Containers: []corev1.Container{{Name: ours.ContainerName, Image: stack + "image"}}}}
	pod.Labels = map[string]string{ours.SlotLabel: "1", ours.ServiceLabel: m.Name}
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: ours.Group.String(), Kind: "Service", Name: m.Name, UID: m.UID, Controller: &yes}}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: ours.ContainerName, ContainerID: "containerd://" + stack + "container"}}}
	tables.Pods.Put(tx, pod)
	tables.Secrets.Put(tx, &corev1.Secret{ObjectMeta: meta("secret"), Data: map[string][]byte{"data": []byte(stack)}})
	tables.ConfigMaps.Put(tx, &corev1.ConfigMap{ObjectMeta: meta("config"), Data: map[string]string{"data": stack}})
	tables.PersistentVolumeClaims.Put(tx, &corev1.PersistentVolumeClaim{ObjectMeta: meta("volume")})
	names[stack] = append(names[stack], stack+"container", stack+"service")
}

// ask sends one request to the door as a user of one group at most.
func ask(t *testing.T, d *Server, who access.User, method, path, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return answerTo(d, who, httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body)))
}

func answerTo(d *Server, who access.User, req *http.Request) (int, string) {
	w := httptest.NewRecorder()
	known(func(*http.Request) (Caller, error) {
		return Caller{User: who, Key: who.Name, Client: &rest.Config{Host: "https://door", Transport: forbids{}}}, nil
	}, d.routes()).ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// every calls f with every path that the door serves, its variables replaced.
func every(names []string, f func(method, path string)) {
	for _, part := range parts {
		for pattern := range part {
			method, path, _ := strings.Cut(pattern, " ")
			if !strings.Contains(path, "{") {
				f(method, path)
				continue
			}
			before, rest, _ := strings.Cut(path, "{")
			_, after, _ := strings.Cut(rest, "}")
			for _, name := range names {
				f(method, before+name+after)
				if strings.HasSuffix(rest, "...}") { // what is asked of an image stands behind its name
					for _, more := range []string{"/json", "/history", "/get", "/tag", "/push"} {
						f(method, before+name+more)
					}
				}
			}
		}
	}
}

// TestNothingIsSeen: whatever somebody without rights asks, by whatever name, shows nothing
// of what there is, and changes nothing.
func TestNothingIsSeen(t *testing.T) {
	d, names := newDoor(t)
	before := d.store.Snapshot().Rev()
	nobody := access.User{Name: "nobody", Groups: []string{access.Authenticated}}
	asked := append(append([]string{"hushnode"}, names["hush"]...), names["loud"]...)
	every(asked, func(method, path string) {
		code, body := ask(t, d, nobody, method, path+"?until=1&stdout=1&version=1&status=1&all=1&name=x", "{}")
		shown := body
		for part := range strings.SplitSeq(path, "/") {
			if part != "" {
				shown = strings.ReplaceAll(shown, part, "")
			}
		}
		for _, name := range asked {
			if method == http.MethodGet && code == http.StatusOK && strings.Contains(shown, name) {
				t.Errorf("%s %s: %d shows %s: %s", method, path, code, name, body)
			}
		}
		if method != http.MethodGet && method != http.MethodHead && code < 300 && !strings.HasSuffix(path, "/prune") { // of what is seen, which is nothing
			t.Errorf("%s %s: %d %s", method, path, code, body)
		}
	})
	if after := d.store.Snapshot().Rev(); after != before {
		t.Errorf("the store moved from %d to %d", before, after)
	}
}

// TestOneStackIsSeen: who may see one namespace sees its stack, and of the node on which its
// task is the name alone.
func TestOneStackIsSeen(t *testing.T) {
	d, _ := newDoor(t)
	viewer := access.User{Name: "viewer", Groups: []string{access.Authenticated}}
	for _, tt := range []struct{ path, want, not string }{
		{"/services", "loudservice", "hushservice"},
		{"/services/loudservice", "loudimage", "hush"},
		{"/tasks", "loudimage", "hushimage"},
		{"/containers/json?all=1", "loudservice.1.", "hushimage"},
		{"/containers/loudcontainer/json", "loudimage", "hush"},
		{"/nodes", "hushnode", "hushlabel"},
	} {
		code, body := ask(t, d, viewer, http.MethodGet, tt.path, "")
		if code != http.StatusOK || !strings.Contains(body, tt.want) || strings.Contains(body, tt.not) {
			t.Errorf("%s: %d %s; want %s and not %s", tt.path, code, body, tt.want, tt.not)
		}
	}
	if code, body := ask(t, d, viewer, http.MethodGet, "/services/hushservice", ""); code != http.StatusNotFound {
		t.Errorf("the service of another stack: %d %s", code, body)
	}
	if code, body := ask(t, d, viewer, http.MethodDelete, "/services/loudservice", ""); code != http.StatusForbidden {
		t.Errorf("removing what may only be seen: %d %s", code, body)
	}
}

// TestNobody: a request that no listener has said a caller of is refused.
func TestNobody(t *testing.T) {
	d, _ := newDoor(t)
	w := httptest.NewRecorder()
	d.routes().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/services", nil))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestRightsChange: what is taken away is not seen any more, however long a call lasts.
func TestRightsChange(t *testing.T) {
	d, _ := newDoor(t)
	r := caller.New(access.User{Name: "viewer"}, d.rules)
	key := object.Key{Namespace: "loud", Name: "loudsecret"}
	if !r.Sees(tables.Secrets, key) {
		t.Fatal("the viewer sees no secret")
	}
	if _, err := d.store.Update(t.Context(), func(tx *store.Tx) error {
		tables.RoleBindings.Delete(tx, object.Key{Namespace: "loud", Name: "view"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if r.Sees(tables.Secrets, key) {
		t.Error("the viewer sees secrets without a role")
	}
}
