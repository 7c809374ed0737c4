package kube_test

import (
	"bytes"
	"encoding/json"
	"fmt"
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
		{"YAML bomb", "POST", maps, "yaml", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n", 400, ""},
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
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "https://"+d.addr+c.path, bytes.NewBufferString(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/"+c.media)
		req.Header.Set("Accept", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		var st metav1.Status
		if err != nil || json.Unmarshal(body, &st) != nil || resp.StatusCode != c.code || int(st.Code) != c.code || st.Reason == "" || !strings.Contains(st.Message, c.want) {
			t.Errorf("%s: %d, want %d and a message with %q: %v %.600s", c.name, resp.StatusCode, c.code, c.want, err, body)
		}
	}
	snap := d.store.Snapshot()
	if n := fmt.Sprint(tables.Pods.Len(snap), tables.ConfigMaps.Len(snap), tables.Deployments.Len(snap)); n != "0 0 0" {
		t.Errorf("stored: %s pods, configmaps, deployments; want none", n)
	}
}
