package proxy_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"trireme/internal/dataplane/proxy"
	"trireme/internal/object/route"
)

// The access log has a line for each request, without its query, whoever answered.
func TestAccessLog(t *testing.T) {
	lines, log := io.Pipe()
	w := newWorld(t, func(c *proxy.Config) { c.AccessLog = log })
	t.Cleanup(func() { lines.Close() }) // before the proxy ends, which would wait for a reader
	at := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "hello")
	})
	w.service("a", "", map[string]bool{at: true})
	w.route(
		route.Rule{Host: "a.example", Backends: to("a")}, route.Rule{Host: "none.example", Backends: to("none")},
		route.Rule{Host: "moved.example", Redirect: &route.Redirect{Scheme: "https", Status: 301}},
	)
	read := bufio.NewReader(lines)
	for _, c := range []struct {
		url  string
		want map[string]any
	}{
		{"http://a.example/x?token=secret", map[string]any{
			"client": "127.0.0.1", "host": "a.example", "protocol": "HTTP/1.1", "method": "GET", "path": "/x", "status": 418., "bytes": 5.,
			"service": "default/a", "backend": at,
		}},
		{"http://none.example/", map[string]any{"status": 503., "service": "default/none", "backend": nil}},
		{"http://moved.example/", map[string]any{"status": 301., "service": nil}},
		{"http://a.example/" + strings.Repeat("é", 5000), map[string]any{"status": 418., "path": "/" + strings.Repeat("é", 511) + "\ufffd"}},
		{"http://a.example/" + url.PathEscape("a\n\"b\x1b["), map[string]any{"status": 418., "path": "/a\n\"b\x1b["}},
	} {
		resp, err := w.client(http1).Get(c.url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		line, err := read.ReadString('\n')
		var got map[string]any
		if err != nil || json.Unmarshal([]byte(line), &got) != nil || strings.ContainsAny(line, "\x1b") || strings.Contains(line, "secret") {
			t.Fatalf("%s: %q, %v", c.url, line, err)
		}
		for name, want := range c.want {
			if got[name] != want {
				t.Errorf("%s: %s is %v, want %v, in %s", c.url, name, got[name], want, line)
			}
		}
	}
}
