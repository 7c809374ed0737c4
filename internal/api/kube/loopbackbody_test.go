package kube

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestLoopbackBody: a handler is told that there is a body, also where nobody knows its
// length: a proxy would leave it away otherwise.
func TestLoopbackBody(t *testing.T) {
	var l loopback
	l.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { fmt.Fprint(w, req.ContentLength) }))
	for want, body := range map[string]io.Reader{"-1": io.MultiReader(strings.NewReader("abc")), "3": strings.NewReader("abc"), "0": nil} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://loopback/", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := l.config().Transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
		resp.Body.Close()
	}
}
