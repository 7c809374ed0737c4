package kube_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestAggregatedServer puts a server behind an APIService: its kinds are found
// and its answers passed on; when it is away, that is all that is away.
func TestAggregatedServer(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	ext := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch req.URL.Path {
		case "/apis/wardle.test/v1":
			fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"wardle.test/v1","resources":[{"name":"fischers","singularName":"fischer","namespaced":false,"kind":"Fischer","verbs":["get","list"]}]}`)
		case "/apis/wardle.test/v1/fischers":
			who, _ := json.Marshal(req.Header.Get("X-Remote-User") + " of " + req.Header.Get("X-Remote-Group"))
			fmt.Fprintf(w, `{"kind":"FischerList","apiVersion":"wardle.test/v1","metadata":{},"items":[{"kind":"Fischer","apiVersion":"wardle.test/v1","metadata":{"name":"bob"},"who":%s}]}`, who)
		default:
			http.NotFound(w, req)
		}
	}))
	defer ext.Close()
	u, err := url.Parse(ext.URL)
	if err != nil {
		t.Fatal(err)
	}
	d.must(t, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: wardle, namespace: default}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.wardle.test}
spec:
  group: wardle.test
  version: v1
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 2000
  versionPriority: 200
  service: {namespace: default, name: wardle, port: %s}
`, u.Port()), "apply", "-f", "-")
	d.must(t, "", "wait", "--for=condition=Available", "--timeout=30s", "apiservice/v1.wardle.test")
	if out := d.must(t, "", "get", "--raw", "/apis/wardle.test/v1/fischers"); !strings.Contains(out, "admin of system:masters") {
		t.Errorf("the server was told of its caller: %s", out)
	}
	if out := d.must(t, "", "get", "--raw", "/apis"); !strings.Contains(out, "wardle.test") || !strings.Contains(out, `"apps"`) {
		t.Errorf("the groups: %s", out)
	}
	ext.Close()
	d.must(t, "", "annotate", "apiservice/v1.wardle.test", "look=again") // or in half a minute
	d.must(t, "", "wait", "--for=condition=Available=false", "--timeout=60s", "apiservice/v1.wardle.test")
	if out, err := d.kubectl(t, "", "get", "--raw", "/apis/wardle.test/v1/fischers"); err == nil || !strings.Contains(out, "ServiceUnavailable") && !strings.Contains(out, "unable to handle the request") {
		t.Errorf("a server that is away: %v: %s", err, out)
	}
	d.must(t, "", "get", "cm", "-A")
	d.must(t, "", "delete", "apiservice", "v1.wardle.test")
}

// TestCustomResourceRestart: a door that says that it is ready serves the custom
// objects that the store holds.
func TestCustomResourceRestart(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	d.must(t, sites, "apply", "-f", "-")
	d.must(t, "", "wait", "--for=condition=Established", "--timeout=20s", "crd/sites.example.com")
	d.must(t, siteA, "create", "-f", "-")
	next := serveStore(t, d.store)
	if out := next.must(t, "", "get", "--raw", "/apis/example.com/v1/namespaces/default/sites/a"); !strings.Contains(out, `"replicas":1`) {
		t.Errorf("after the restart: %s", out)
	}
}

// TestConversionWebhook: an object is stored in one version and read in another,
// as the webhook converts it.
func TestConversionWebhook(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var review map[string]any
		if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		asked := review["request"].(map[string]any)
		objects := asked["objects"].([]any)
		for _, o := range objects {
			o := o.(map[string]any)
			o["apiVersion"] = asked["desiredAPIVersion"]
			if v, ok := o["size"]; ok {
				delete(o, "size")
				o["width"] = v
			} else if v, ok := o["width"]; ok {
				delete(o, "width")
				o["size"] = v
			}
		}
		review["response"] = map[string]any{"uid": asked["uid"], "convertedObjects": objects, "result": map[string]any{"status": "Success"}}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(review)
	}))
	defer hook.Close()
	crd := fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"boxes.example.com"},"spec":{
"group":"example.com","scope":"Cluster","names":{"plural":"boxes","singular":"box","kind":"Box"},
"conversion":{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],"clientConfig":{"url":%q,"caBundle":%q}}},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"size":{"type":"integer"}}}}},
{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","properties":{"width":{"type":"integer"}}}}}]}}`,
		hook.URL, certificate(hook))
	d.must(t, crd, "apply", "-f", "-")
	d.must(t, "", "wait", "--for=condition=Established", "--timeout=20s", "crd/boxes.example.com")
	d.must(t, `{"apiVersion":"example.com/v2","kind":"Box","metadata":{"name":"b"},"width":7}`, "create", "-f", "-")
	for path, want := range map[string]string{"v1/boxes/b": `"size":7`, "v2/boxes": `"width":7`} {
		if out := d.must(t, "", "get", "--raw", "/apis/example.com/"+path); !strings.Contains(out, want) {
			t.Errorf("%s: want %s in %s", path, want, out)
		}
	}
	hook.Close()
	if out, err := d.kubectl(t, "", "get", "--raw", "/apis/example.com/v2/boxes/b"); err == nil || !strings.Contains(out, "conversion webhook") {
		t.Errorf("without the webhook: %v: %s", err, out)
	}
	d.must(t, "", "get", "--raw", "/apis/example.com/v1/boxes/b")
}

// certificate returns what a definition says to trust the server.
func certificate(s *httptest.Server) string {
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}
