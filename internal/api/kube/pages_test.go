package kube_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestPages checks the pages beside the API that monitors read, and who may
// read them.
func TestPages(t *testing.T) {
	d := serve(t)
	admin := d.raw(t)
	// Monitors ask without a certificate, and often by address alone.
	nobody := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer nobody.CloseIdleConnections()
	get := func(c *http.Client, path string) (int, string) {
		resp, err := c.Get("https://" + d.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, c := range []struct {
		path      string
		want      string
		anonymous int // the code for somebody without a certificate
	}{
		{"/healthz", "ok", 200},
		{"/livez", "ok", 200},
		{"/readyz", "ok", 200},
		{"/readyz?verbose", "[+]store ok", 200},
		{"/livez?verbose", "[+]ping ok", 200},
		{"/livez/ping", "ok", 403},
		{"/version", "gitVersion", 200},
		{"/metrics", "apiserver_request_total", 403},
		{"/api", "v1", 403},
		{"/apis", "apps", 403},
		{"/openapi/v2", `"swagger":"2.0"`, 403},
		{"/openapi/v3", "apis/apps/v1", 403},
		{"/api/v1/namespaces", "default", 403},
	} {
		if code, body := get(admin, c.path); code != 200 || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d, want %q: %.300s", c.path, code, c.want, body)
		}
		if code, body := get(nobody, c.path); code != c.anonymous {
			t.Errorf("%s without a certificate: %d, want %d: %.300s", c.path, code, c.anonymous, body)
		}
	}
}
