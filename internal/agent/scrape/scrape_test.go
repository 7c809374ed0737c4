package scrape

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEndpointOf(t *testing.T) {
	for _, c := range []struct {
		annotations map[string]string
		want, fault string
	}{
		{nil, "", ""},
		{map[string]string{EndpointAnnotation: "http://localhost:9100/metrics"}, "http://localhost:9100/metrics", ""},
		{map[string]string{EndpointAnnotation: "https://10.1.2.3:9100/m?a=b"}, "https://10.1.2.3:9100/m?a=b", ""},
		{map[string]string{EndpointAnnotation: "http://user:word@127.0.0.1:9100/metrics"}, "http://127.0.0.1:9100/metrics", ""},
		{map[string]string{EndpointAnnotation: "http://10.9.9.9:9100/metrics"}, "", "want localhost"},
		{map[string]string{EndpointAnnotation: "http://169.254.169.254/"}, "", "want localhost"},
		{map[string]string{EndpointAnnotation: "http://localhost.evil.example/"}, "", "want localhost"},
		{map[string]string{EndpointAnnotation: "file:///etc/shadow"}, "", "want http or https"},
		{map[string]string{EndpointAnnotation: "http://localhost:0/"}, "", "want 1 to 65535"},
		{map[string]string{EndpointAnnotation: ":"}, "", "missing protocol scheme"},
		{map[string]string{scrapeAnnotation: "true"}, "http://10.1.2.3:8080/metrics", ""},
		{map[string]string{scrapeAnnotation: "true", portAnnotation: "1", pathAnnotation: "/x?y=z", schemeAnnotation: "https"}, "https://10.1.2.3:1/x?y=z", ""},
		{map[string]string{scrapeAnnotation: "no"}, "", ""},
		{map[string]string{scrapeAnnotation: "true", portAnnotation: "many"}, "", "want localhost"},
		{map[string]string{scrapeAnnotation: "true", portAnnotation: "70000"}, "", "want 1 to 65535"},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: c.annotations}, Status: corev1.PodStatus{PodIP: "10.1.2.3"}}
		pod.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}}
		u, err := EndpointOf(pod)
		got := ""
		if u != nil {
			got = u.String()
		}
		if got != c.want || (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%v: %q, %v; want %q, %q", c.annotations, got, err, c.want, c.fault)
		}
	}
}

const shown = `# TYPE queue_length gauge
queue_length{queue="b"} 7
queue_length{queue="a"} 3.5
queue_length{queue="nan"} NaN
# TYPE requests_total counter
requests_total 12
# TYPE latency histogram
latency_bucket{le="1"} 3
latency_bucket{le="+Inf"} 4
latency_sum 2.5
latency_count 4
plain 1
old_total 2
`

func TestGet(t *testing.T) {
	body := shown
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			fmt.Fprint(w, body)
		case "/elsewhere":
			http.Redirect(w, r, "/metrics", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	get := func(path string) ([]Series, error) {
		u, err := url.Parse(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		return Target{URL: u, Process: os.Getpid()}.Get(t.Context())
	}
	if os.Geteuid() != 0 {
		t.Skip("entering a network namespace needs root")
	}
	got, err := get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	want := []Series{
		{"latency_count", cumulative, nil, 4}, {"latency_sum", cumulative, nil, 2.5}, {"old_total", cumulative, nil, 2}, {"plain", gauge, nil, 1},
		{"queue_length", gauge, map[string]string{"queue": "b"}, 7}, {"queue_length", gauge, map[string]string{"queue": "a"}, 3.5},
		{"requests_total", cumulative, nil, 12},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("series (-want +got):\n%s", d)
	}
	for _, c := range []struct{ path, body, want string }{
		{"/nothing", "", "404"},
		{"/elsewhere", "", "302"},
		{"/metrics", "queue_length{ 7\n", "reading metrics"},
		{"/metrics", "<html>", "reading metrics"},
		{"/metrics", strings.Repeat("# a comment that is long\n", 200_000), "more than 4194304 bytes"},
		{"/metrics", many(seriesMax + 1), "more than 1000 series"},
	} {
		body = c.body
		if s, err := get(c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.20q: %d series, %v; want %s", c.path, c.body, len(s), err, c.want)
		}
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "m{i=\"%d\"} %d\n", i, i)
	}
	return b.String()
}

// FuzzParse: whatever a pod shows, the parser answers within its bounds.
func FuzzParse(f *testing.F) {
	f.Add(shown)
	f.Add("a{b=\"\\\"} 1")
	f.Fuzz(func(t *testing.T, in string) {
		s, err := parse(strings.NewReader(in))
		if err == nil && len(s) > seriesMax {
			t.Errorf("%d series", len(s))
		}
	})
}
