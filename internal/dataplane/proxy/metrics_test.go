package proxy_test

import (
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"trireme/internal/object/route"
)

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	at := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	w.service("web", "", map[string]bool{at: true})
	w.service("dead", "", map[string]bool{gone.Addr().String(): true})
	rules := []route.Rule{
		{Host: "web.example", Backends: to("web")}, {Host: "dead.example", Backends: to("dead")},
		{Host: "empty.example", Backends: to("missing")},
	}
	w.route(rules...)
	c := w.client(http1)
	for _, url := range []string{"http://web.example/", "http://web.example/bad", "http://dead.example/", "http://empty.example/", "http://nobody.example/"} {
		resp, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	c.CloseIdleConnections()

	w.service("web", "", map[string]bool{at: false}) // a change takes nothing back
	w.waitMetrics(
		`trireme_ingress_requests_total{namespace="default",service="web",code="2xx"} 1`,
		`trireme_ingress_requests_total{namespace="default",service="web",code="4xx"} 1`,
		`trireme_ingress_requests_total{namespace="default",service="dead",code="5xx"} 1`,
		`trireme_ingress_requests_total{namespace="",service="",code="4xx"} 1`,
		`trireme_ingress_requests_total{namespace="",service="",code="5xx"} 1`,
		`trireme_ingress_backend_errors_total{namespace="default",service="dead"} 1`,
		`trireme_ingress_request_duration_seconds_bucket{le="+Inf"} 5`,
		`trireme_ingress_request_duration_seconds_count 5`,
	)

	w.route(rules[:1]...)
	var out strings.Builder
	if w.proxy.WriteMetrics(&out); strings.Contains(out.String(), `service="dead"`) {
		t.Errorf("figures of a service that no rule leads to:\n%s", out.String())
	}
}

// waitMetrics waits for figures: a client has its answer before the request is counted.
func (w *world) waitMetrics(lines ...string) {
	w.t.Helper()
	var missing []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		var out strings.Builder
		w.proxy.WriteMetrics(&out)
		missing = missing[:0]
		for _, l := range lines {
			if !strings.Contains(out.String(), l+"\n") {
				missing = append(missing, l)
			}
		}
		if len(missing) == 0 {
			return
		}
	}
	w.t.Fatalf("never seen: %s", strings.Join(missing, "\n"))
}
