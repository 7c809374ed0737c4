package kube_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/internal/tables"
)

// raw returns a client that shows the door's administrator certificate.
func (d *door) raw(t *testing.T) *http.Client {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

const (
	pods    = "/api/v1/namespaces/default/pods"
	maps    = "/api/v1/namespaces/default/configmaps"
	deploys = "/apis/apps/v1/namespaces/default/deployments"
)

// bomb is 200 bytes of YAML that stand for half a million strings.
const bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n"

func podJSON(container string) string {
	return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad"},"spec":{"containers":[` + container + `]}}`
}

func deployJSON(spec string) string {
	return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"bad"},"spec":{` + spec +
		`,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"i"}]}}}}`
}

// TestBadInput sends what no well-meant client sends: each is refused with a
// status of Kubernetes' that says what is wrong, and nothing is stored.
func TestBadInput(t *testing.T) {
	d := serve(t)
	client := d.raw(t)
	for path, body := range map[string]string{
		maps:    `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept"},"data":{"a":"` + strings.Repeat("a", 100_000) + `"}}`,
		deploys: strings.Replace(deployJSON(`"replicas":1`), `"bad"`, `"kept"`, 1),
	} {
		if _, code, raw := d.status(t, client, "POST", path, "json", body); code != 201 {
			t.Fatalf("%d: %s", code, raw)
		}
	}
	for _, c := range []struct {
		name, method, path, media, body string
		code                            int
		want                            string // part of the message
	}{
		{"cut JSON", "POST", pods, "json", `{"kind":"Pod"`, 400, ""},
		{"no body", "POST", pods, "json", ``, 400, ""},
		{"not an object", "POST", pods, "json", `[1]`, 400, ""},
		{"other kind", "POST", pods, "json", `{"apiVersion":"v1","kind":"Service"}`, 400, "Service"},
		{"cut YAML", "POST", pods, "yaml", "a: [", 400, ""},
		{"YAML bomb", "POST", maps, "yaml", bomb, 400, ""},
		{"bad protobuf", "POST", pods, "vnd.kubernetes.protobuf", "k8s\x00\xff\xff\xff\xff\xff", 400, ""},
		{"unknown media", "POST", pods, "x-nothing", "x", 415, ""},
		{"10 MB", "POST", maps, "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"},"data":{"a":"` + strings.Repeat("a", 10<<20) + `"}}`, 413, ""},
		{"2 MB", "POST", maps, "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"},"data":{"a":"` + strings.Repeat("a", 2<<20) + `"}}`, 422, "data"},
		{"nested", "POST", maps, "json", strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000), 400, ""},
		{"path in name", "POST", maps, "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"../bad"}}`, 422, "metadata.name"},
		{"wrong type", "POST", deploys, "json", deployJSON(`"replicas":"two"`), 400, "replicas"},
		{"overflowing replicas", "POST", deploys, "json", deployJSON(`"replicas":2147483648`), 400, "replicas"},
		{"negative replicas", "POST", deploys, "json", deployJSON(`"replicas":-1`), 422, "spec.replicas"},
		{"negative quantity", "POST", pods, "json", podJSON(`{"name":"a","image":"i","resources":{"requests":{"cpu":"-1"}}}`), 422, "spec.containers[0].resources.requests[cpu]"},
		{"bad quantity", "POST", pods, "json", podJSON(`{"name":"a","image":"i","resources":{"requests":{"cpu":"one"}}}`), 400, "quantities"},
		{"no containers", "POST", pods, "json", podJSON(``), 422, "spec.containers"},
		{"unknown field", "POST", pods + "?fieldValidation=Strict", "json", podJSON(`{"name":"a","image":"i","imagee":"j"}`), 400, "imagee"},
		{"bad selector", "GET", pods + "?labelSelector=%3D%3D", "json", "", 400, ""},
		{"bad field selector", "GET", pods + "?fieldSelector=spec.nothing%3Dx", "json", "", 400, ""},
		{"bad token", "GET", pods + "?limit=1&continue=nonsense", "json", "", 400, "continue"},
		{"bad version", "GET", pods + "?resourceVersion=x", "json", "", 400, "resource version"},
		{"bad watch version", "GET", pods + "?watch=1&resourceVersion=x", "json", "", 400, "resource version"},
		{"path in URL", "GET", maps + "/..%2F..%2Fsecrets", "json", "", 404, ""},
		{"huge exponent", "POST", pods, "json", podJSON(`{"name":"a","image":"i","resources":{"requests":{"cpu":"-1e999999999"}}}`), 422, "spec.containers[0].resources.requests[cpu]"},
		{"overflowing exponent", "POST", pods, "json", podJSON(`{"name":"a","image":"i","resources":{"requests":{"cpu":"1e99999999999999999999"}}}`), 400, "quantity"},
		{"overflowing port", "POST", pods, "json", podJSON(`{"name":"a","image":"i","ports":[{"containerPort":65536}]}`), 422, "spec.containers[0].ports[0].containerPort"},
		{"label", "POST", maps, "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad","labels":{"a b":"c"}}}`, 422, "metadata.labels"},
		{"mount outside", "POST", pods, "json", podJSON(`{"name":"a","image":"i","volumeMounts":[{"name":"v","mountPath":"/v","subPath":"../x"}]}`), 422, "spec.containers[0].volumeMounts[0].subPath"},
		{"unknown field in YAML", "POST", maps + "?fieldValidation=Strict", "yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndatta: {}\n", 400, `unknown field "datta"`},
		{"field twice", "POST", maps + "?fieldValidation=Strict", "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad","name":"bad"}}`, 400, `duplicate field "metadata.name"`},
		{"validation of no kind", "POST", maps + "?fieldValidation=Nonsense", "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"}}`, 422, "fieldValidation"},
		{"dry run of no kind", "POST", maps + "?dryRun=Some", "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"}}`, 422, "dryRun"},
		{"version at creation", "POST", maps, "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad","resourceVersion":"1"}}`, 400, "resourceVersion"},
		{"other namespace", "POST", maps, "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad","namespace":"other"}}`, 400, "namespace"},
		{"no namespace", "POST", "/api/v1/namespaces/nope/configmaps", "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"}}`, 404, `namespaces "nope" not found`},
		{"applied to no namespace", "PATCH", "/api/v1/namespaces/nope/configmaps/bad?fieldManager=t", "apply-patch+yaml", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"}}`, 404, `namespaces "nope" not found`},
		{"applied unknown field", "PATCH", deploys + "/bad?fieldManager=t", "apply-patch+yaml", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"bad"},"spec":{"replicass":1}}`, 400, ".spec.replicass"},
		{"applied wrong type", "PATCH", deploys + "/bad?fieldManager=t", "apply-patch+yaml", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"bad"},"spec":{"replicas":"one"}}`, 400, ".spec.replicas"},
		{"applied by nobody", "PATCH", deploys + "/bad", "apply-patch+yaml", deployJSON(`"replicas":1`), 422, "fieldManager"},
		{"patch of nothing", "PATCH", maps + "/bad", "merge-patch+json", `{"data":{"a":"b"}}`, 404, `configmaps "bad" not found`},
		{"patch of no type", "PATCH", maps + "/kept", "json", `{"data":{"a":"b"}}`, 415, ""},
		{"patch that is none", "PATCH", maps + "/kept", "json-patch+json", `{"op":1}`, 400, ""},
		{"patch of no path", "PATCH", maps + "/kept", "json-patch+json", `[{"op":"remove","path":"/data/none"}]`, 422, ""},
		{"patches without end", "PATCH", maps + "/kept", "json-patch+json", "[" + strings.Repeat(`{"op":"test","path":"/kind","value":"ConfigMap"},`, 10_000) + `{"op":"remove","path":"/data"}]`, 413, ""},
		{"copies of copies", "PATCH", maps + "/kept", "json-patch+json", "[" + strings.Repeat(`{"op":"copy","from":"/data","path":"/data/x"},`, 40) + `{"op":"remove","path":"/data/x"}]`, 422, ""},
		{"nested patch", "PATCH", maps + "/kept", "merge-patch+json", strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000), 400, ""},
		{"nested strategic patch", "PATCH", deploys + "/kept", "strategic-merge-patch+json", strings.Repeat(`{"spec":`, 20_000) + "1" + strings.Repeat("}", 20_000), 400, ""},
		{"applied YAML bomb", "PATCH", maps + "/bad?fieldManager=t", "apply-patch+yaml", bomb, 400, ""},
		{"patched to a negative", "PATCH", deploys + "/kept", "strategic-merge-patch+json", `{"spec":{"replicas":-1}}`, 422, "spec.replicas"},
		{"patched out of range", "PATCH", deploys + "/kept", "merge-patch+json", `{"spec":{"replicas":2147483648}}`, 422, "replicas"},
		{"patched selector", "PATCH", deploys + "/kept", "merge-patch+json", `{"spec":{"selector":{"matchLabels":{"a":"c"}}}}`, 422, "spec.selector"},
		{"initial events of any version", "GET", pods + "?watch=1&sendInitialEvents=true", "json", "", 422, "resourceVersionMatch"},
		{"stale version", "PUT", maps + "/kept", "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept","resourceVersion":"1"},"data":{"a":"c"}}`, 409, "the object has been modified"},
		{"other name", "PUT", maps + "/kept", "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"}}`, 400, "name"},
		{"made by PUT", "PUT", maps + "/bad", "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"}}`, 404, `configmaps "bad" not found`},
		{"again", "POST", maps, "json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept"}}`, 409, `configmaps "kept" already exists`},
		{"policy of no kind", "DELETE", maps + "/kept?propagationPolicy=Maybe", "json", "", 422, "propagationPolicy"},
		{"options of no kind", "DELETE", maps + "/kept", "json", `{"kind":"Pod","apiVersion":"v1"}`, 400, ""},
		{"other UID", "DELETE", maps + "/kept", "json", `{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"x"}}`, 409, "UID"},
		{"other version", "DELETE", maps + "/kept", "json", `{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"resourceVersion":"1"}}`, 409, "ResourceVersion"},
		{"kept namespace", "DELETE", "/api/v1/namespaces/default", "json", "", 403, "default"},
		{"no verb", "POST", maps + "/kept", "json", `{}`, 405, ""},
		{"no kind", "GET", "/api/v1/namespaces/default/nothings", "json", "", 404, ""},
		{"bad limit", "GET", pods + "?limit=x", "json", "", 400, "invalid syntax"},
		{"match without version", "GET", pods + "?resourceVersionMatch=Exact", "json", "", 422, "resourceVersion"},
		{"version to come", "GET", pods + "?resourceVersion=99999999", "json", "", 504, "Too large resource version"},
		{"negative status", "PUT", deploys + "/kept/status", "json", strings.NewReplacer("bad", "kept", `"spec":{"replicas"`, `"status":{"replicas":-1},"spec":{"replicas"`).Replace(deployJSON(`"replicas":1`)), 422, "status.replicas"},
		{"negative scale", "PATCH", deploys + "/kept/scale", "merge-patch+json", `{"spec":{"replicas":-1}}`, 422, "spec.replicas"},
		{"node net", "POST", "/api/v1/nodes", "json", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"bad"},"spec":{"podCIDR":"10.0.0.0/99"}}`, 422, "spec.podCIDR"},
		{"slice address", "POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", "json", `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"bad"},"addressType":"IPv4","endpoints":[{"addresses":["127.0.0.1"]}]}`, 422, "endpoints[0].addresses[0]"},
		{"endpoint address", "POST", "/api/v1/namespaces/default/endpoints", "json", `{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"bad"},"subsets":[{"addresses":[{"ip":"x"}]}]}`, 422, "subsets[0].addresses[0].ip"},
		{"event elsewhere", "POST", "/api/v1/namespaces/default/events", "json", `{"apiVersion":"v1","kind":"Event","metadata":{"name":"bad"},"involvedObject":{"namespace":"other"}}`, 422, "involvedObject.namespace"},
	} {
		st, code, raw := d.status(t, client, c.method, c.path, c.media, c.body)
		if code != c.code || int(st.Code) != c.code || !strings.Contains(st.Message, c.want) {
			t.Errorf("%s: %d, want %d and a message with %q: %.600s", c.name, code, c.code, c.want, raw)
			continue
		}
		if want := reasons[c.code]; st.Reason != want && c.name != "again" {
			t.Errorf("%s: reason %q, want %q", c.name, st.Reason, want)
		}
		if code == 422 && c.want != "" && (st.Details == nil || len(st.Details.Causes) == 0) {
			t.Errorf("%s: no cause names the field: %s", c.name, raw)
		}
	}
	snap := d.store.Snapshot()
	n := 0
	for _, table := range tables.All() {
		if table.ID() != tables.APIServices.ID() { // the door registers what it serves
			n += table.Len(snap)
		}
	}
	if n != 3 { // namespace default and the two kept ones
		t.Errorf("%d rows are stored, want 3", n)
	}
}

// reasons are what Kubernetes gives with each code (API conventions).
var reasons = map[int]metav1.StatusReason{
	400: metav1.StatusReasonBadRequest, 403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound,
	405: metav1.StatusReasonMethodNotAllowed, 409: metav1.StatusReasonConflict, 413: metav1.StatusReasonRequestEntityTooLarge,
	415: metav1.StatusReasonUnsupportedMediaType, 422: metav1.StatusReasonInvalid, 504: metav1.StatusReasonTimeout,
}

// status sends one request and returns the Status that answers it.
func (d *door) status(t *testing.T, client *http.Client, method, path, media, body string) (metav1.Status, int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+d.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/"+media)
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var st metav1.Status
	if err := json.Unmarshal(raw, &st); err != nil {
		return st, resp.StatusCode, raw // the caller sees that it has no code
	}
	return st, resp.StatusCode, raw
}

// TestFieldValidation checks the three ways an unknown field may be taken.
func TestFieldValidation(t *testing.T) {
	d := serve(t)
	client := d.raw(t)
	for mode, want := range map[string]struct {
		code    int
		warning string
	}{"Strict": {400, ""}, "Warn": {201, `unknown field \"datta\"`}, "Ignore": {201, ""}} {
		body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + strings.ToLower(mode) + `"},"datta":{}}`
		resp, err := client.Post("https://"+d.addr+maps+"?fieldValidation="+mode, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if w := resp.Header.Get("Warning"); resp.StatusCode != want.code || (w == "") != (want.warning == "") || !strings.Contains(w, want.warning) {
			t.Errorf("%s: %d with warning %q, want %d with %q", mode, resp.StatusCode, w, want.code, want.warning)
		}
	}
}
