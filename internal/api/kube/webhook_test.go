package kube_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// hooks is a webhook server: each path answers reviews its way.
type hooks struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*admissionv1.AdmissionRequest
}

// patch answers with a JSON patch.
func patch(ops string) *admissionv1.AdmissionResponse {
	kind := admissionv1.PatchTypeJSONPatch
	return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(ops), PatchType: &kind}
}

func serveHooks(t *testing.T) *hooks {
	t.Helper()
	h := &hooks{}
	mux := http.NewServeMux()
	answer := func(path string, f func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) {
		mux.HandleFunc(path, func(w http.ResponseWriter, req *http.Request) {
			var review admissionv1.AdmissionReview
			if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			h.mu.Lock()
			h.seen = append(h.seen, review.Request)
			h.mu.Unlock()
			review.Response = f(review.Request)
			review.Response.UID = review.Request.UID
			review.Request = nil
			json.NewEncoder(w).Encode(review)
		})
	}
	answer("/label", func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"add","path":"/metadata/labels","value":{"hook":"was-here"}}]`)
	})
	answer("/sidecar", func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"add","path":"/spec/containers/-","value":{"name":"sidecar","image":"side"}}]`)
	})
	answer("/data", func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"add","path":"/data","value":{"by":"hook"}}]`)
	})
	answer("/deny", func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "not on my watch"}, Warnings: []string{"careful"}}
	})
	answer("/allow", func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true}
	})
	answer("/wrongpatch", func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return patch(`[{"op":"fly"}]`) })
	mux.HandleFunc("/rubbish", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"a": [[[[`) })
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, "/allow", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/flood", func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		junk := strings.Repeat("x", 1<<16)
		for req.Context().Err() == nil {
			if _, err := w.Write([]byte(junk)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body) // else the server does not see the caller go
		<-req.Context().Done()
	})
	h.Server = httptest.NewTLSServer(mux)
	t.Cleanup(func() { h.CloseClientConnections(); h.Close() })
	return h
}

func (h *hooks) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
}

// last returns the last request that a path saw.
func (h *hooks) last() *admissionv1.AdmissionRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.seen) == 0 {
		return nil
	}
	return h.seen[len(h.seen)-1]
}

// connected returns the options of the last connection to a subresource that a
// path saw.
func (h *hooks) connected(subresource string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range slices.Backward(h.seen) {
		if r.Operation == admissionv1.Connect && r.SubResource == subresource {
			return string(r.Object.Raw)
		}
	}
	return ""
}

// yaml is a registration of one webhook. what is mutating or validating; more is
// further fields of the webhook.
func (h *hooks) yaml(what, name, path, rules, more string) string {
	ca, _ := json.Marshal(h.ca())
	return fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: %sWebhookConfiguration
metadata: {name: %s}
webhooks:
- name: %s.example.com
  clientConfig: {url: "%s%s", caBundle: %s}
  rules: [%s]
  admissionReviewVersions: [v1]
  sideEffects: None
  %s
`, what, name, name, h.URL, path, ca, rules, more)
}

const configMaps = `{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [configmaps]}`

// until repeats a call until it says yes: what is registered reaches admission a
// moment later.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		if f() {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("%s: not within 15 s", what)
}

// marked waits until a registration that comes after all others is obeyed.
func (d *door) marked(t *testing.T, h *hooks) {
	t.Helper()
	name := fmt.Sprint("mark-", time.Now().UnixNano())
	d.must(t, h.yaml("Validating", "zz-"+name, "/deny", `{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [limitranges]}`, ""), "create", "-f", "-")
	c := d.client(t)
	var err error
	defer func() {
		if t.Failed() {
			t.Logf("last: %v", err)
		}
	}()
	until(t, "the registration of a webhook", func() bool {
		_, err = c.CoreV1().LimitRanges("default").Create(t.Context(), &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{GenerateName: "m"}}, metav1.CreateOptions{DryRun: []string{"All"}})
		return err != nil && strings.Contains(err.Error(), "not on my watch")
	})
	d.must(t, "", "delete", "validatingwebhookconfiguration", "zz-"+name)
}

func newConfigMap(c kubernetes.Interface, t *testing.T, name string) (*corev1.ConfigMap, error) {
	return c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
}

func TestWebhooksChangeAndRefuse(t *testing.T) {
	needKubectl(t)
	d, h := serve(t), serveHooks(t)
	c := d.client(t)
	d.must(t, "", "create", "namespace", "quiet")
	d.must(t, "", "label", "namespace", "default", "hooked=yes")
	d.must(t, h.yaml("Mutating", "a", "/label", configMaps, "reinvocationPolicy: IfNeeded\n  namespaceSelector: {matchLabels: {hooked: \"yes\"}}"), "create", "-f", "-")
	d.must(t, h.yaml("Mutating", "b", "/data", configMaps, `matchConditions: [{name: named, expression: "object.metadata.name == 'two'"}]`), "create", "-f", "-")
	d.must(t, h.yaml("Validating", "v", "/deny", `{operations: [CREATE, UPDATE, DELETE], apiGroups: [""], apiVersions: [v1], resources: [secrets]}`, "objectSelector: {matchLabels: {guard: \"yes\"}}"), "create", "-f", "-")
	d.must(t, h.yaml("Validating", "w", "/deny", `{operations: ["*"], apiGroups: [""], apiVersions: [v1], resources: [pods/attach, pods/exec, pods/binding, pods/eviction]}`, ""), "create", "-f", "-")
	d.must(t, h.yaml("Validating", "x", "/deny", `{operations: [UPDATE], apiGroups: [apps], apiVersions: [v1], resources: [deployments/scale]}`, ""), "create", "-f", "-")
	d.marked(t, h)

	one, err := newConfigMap(c, t, "one")
	if err != nil || one.Labels["hook"] != "was-here" || one.Data != nil {
		t.Errorf("one: labels %v, data %v, %v; want the label only", one.Labels, one.Data, err)
	}
	two, err := newConfigMap(c, t, "two")
	if err != nil || two.Labels["hook"] != "was-here" || two.Data["by"] != "hook" {
		t.Errorf("two: labels %v, data %v, %v; want both", two.Labels, two.Data, err)
	}
	if r := h.last(); r == nil || r.Name != "two" || r.Namespace != "default" || r.UserInfo.Username == "" || *r.DryRun || r.RequestKind.Kind != "ConfigMap" {
		t.Errorf("the webhook saw %+v", r)
	}
	d.play(t, []step{
		{name: "another namespace", args: "create cm one -n quiet", want: "created"},
		{name: "no label there", args: "get cm one -n quiet -o jsonpath={.metadata.labels}", want: ""},
		{name: "free", args: "create secret generic s", want: "created"},
		{name: "guarded", args: "label secret s guard=yes", fails: true, want: `admission webhook "v.example.com" denied the request: not on my watch`},
		{name: "warned", args: "label secret s guard=yes", fails: true, want: "Warning: careful"},
		{name: "attach", args: "run p --image=i", want: "created"},
		{name: "attach", args: "attach p", fails: true, want: `admission webhook "w.example.com" denied the request`},
		{name: "exec", args: "exec p -i -- ls -l", fails: true, want: `admission webhook "w.example.com" denied the request`},
		{name: "dry run", args: "create cm three --dry-run=server -o jsonpath={.metadata.labels.hook}", want: "was-here"},
		{name: "server-side", stdin: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"two"},"data":{"mine":"1"}}`, args: "apply --server-side -f -", want: "serverside-applied"},
		{name: "deployment", stdin: deployment, args: "create -f -", want: "created"},
		{name: "scale", args: "scale deploy web --replicas 4", fails: true, want: `admission webhook "x.example.com" denied the request`},
	})
	if got, want := h.connected("exec"), `{"kind":"PodExecOptions","apiVersion":"v1","stdin":true,"stdout":true,"stderr":true,"container":"p","command":["ls","-l"]}`; got != want {
		t.Errorf("the webhook was asked about %s, want %s", got, want)
	}
	if got, want := h.connected("attach"), `{"kind":"PodAttachOptions","apiVersion":"v1","stdout":true,"stderr":true,"container":"p"}`; got != want {
		t.Errorf("the webhook was asked about %s, want %s", got, want)
	}
	err = c.CoreV1().Pods("default").Bind(t.Context(), &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "not on my watch") {
		t.Errorf("binding: %v, want a refusal", err)
	}
	if _, err := d.kubectl(t, "", "delete", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "--all"); err != nil {
		t.Errorf("webhooks must not stand before their own removal: %v", err)
	}
}

// TestBadWebhooks: a webhook that hangs, loops, redirects, floods or answers
// rubbish harms its own requests only.
func TestBadWebhooks(t *testing.T) {
	needKubectl(t)
	d, h := serve(t), serveHooks(t)
	c := d.client(t)
	for _, b := range []struct{ path, want string }{
		{"/hang", "context deadline exceeded"},
		{"/redirect", "redirects are not followed"},
		{"/rubbish", "unexpected end of JSON"},
		{"/flood", "larger than"},
		{"/wrongpatch", "Unexpected kind"},
		{"/nowhere", "the server could not find the requested resource"},
	} {
		t.Run(strings.TrimPrefix(b.path, "/"), func(t *testing.T) {
			d.must(t, h.yaml("Mutating", "bad", b.path, configMaps, "timeoutSeconds: 1"), "create", "-f", "-")
			d.marked(t, h)
			others := make(chan error, 1)
			start := time.Now()
			go func() {
				for i := range 50 {
					if _, err := c.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("s", i)}}, metav1.CreateOptions{}); err != nil {
						others <- err
						return
					}
				}
				others <- c.CoreV1().Secrets("default").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
			}()
			_, err := newConfigMap(c, t, "x")
			if err == nil || !strings.Contains(err.Error(), b.want) {
				t.Errorf("%s: %v, want it to say %q", b.path, err, b.want)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%s: the request took %v", b.path, took)
			}
			if err := <-others; err != nil {
				t.Errorf("%s: a request of another kind: %v", b.path, err)
			}
			d.must(t, "", "patch", "mutatingwebhookconfiguration", "bad", "--type=json", "-p", `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
			if b.path != "/wrongpatch" { // a wrong patch is no failure of the call: upstream refuses it too
				until(t, b.path+" is ignored", func() bool { _, err := newConfigMap(c, t, "x"); return err == nil })
				d.must(t, "", "delete", "cm", "x")
			}
			d.must(t, "", "delete", "mutatingwebhookconfiguration", "bad")
			until(t, b.path+" is gone", func() bool { _, err := newConfigMap(c, t, "x"); return err == nil || apierrors.IsAlreadyExists(err) })
			d.must(t, "", "delete", "cm", "x")
		})
	}
}
