package kube_test

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// TestOpenAPIDocuments: each document is made when it is asked for, in the form
// that is asked for, under an ETag that is the same in every manager of one
// binary.
func TestOpenAPIDocuments(t *testing.T) {
	var lists []map[string]struct{ ServerRelativeURL string }
	for range 2 {
		d := serve(t)
		get := asker(t, d)
		list, body := get("/openapi/v3", "", "")
		if list.StatusCode != http.StatusOK {
			t.Fatalf("the list: %s %s", list.Status, body)
		}
		var paths struct {
			Paths map[string]struct{ ServerRelativeURL string }
		}
		if err := json.Unmarshal([]byte(body), &paths); err != nil {
			t.Fatal(err)
		}
		delete(paths.Paths, "version") // every server has it: the aggregator shows any
		lists = append(lists, paths.Paths)
		core, apps := paths.Paths["api/v1"].ServerRelativeURL, paths.Paths["apis/apps/v1"].ServerRelativeURL
		if !strings.HasPrefix(core, "/openapi/v3/api/v1?hash=") || apps == "" {
			t.Fatalf("the list lacks groups: %.500s", body)
		}
		for _, c := range []struct {
			name, path, accept, etag string
			code                     int
			media, want              string
		}{
			{"json", core, "application/json", "", 200, "application/json", "io.k8s.api.core.v1.ConfigMap"},
			{"whatever", core, "", "", 200, "application/json", "io.k8s.api.core.v1.Pod"},
			{"protobuf", apps, "application/com.github.proto-openapi.spec.v3.v1.0+protobuf", "", 200, "application/com.github.proto-openapi.spec.v3.v1.0+protobuf", "io.k8s.api.apps.v1.Deployment"},
			{"protobuf's old name", apps, "application/com.github.proto-openapi.spec.v3@v1.0+protobuf", "", 200, "application/com.github.proto-openapi.spec.v3.v1.0+protobuf", "io.k8s.api.apps.v1.Deployment"},
			{"only its group", apps, "", "", 200, "application/json", `"x-kubernetes-group-version-kind":[{"group":"apps","kind":"Deployment","version":"v1"}]`},
			{"known", core, "", strings.TrimPrefix(core, "/openapi/v3/api/v1?hash="), 304, "", ""},
			{"another hash", "/openapi/v3/api/v1?hash=0", "", "", 301, "", core[strings.Index(core, "hash="):]},
			{"no such group", "/openapi/v3/apis/nope/v1", "", "", 404, "", ""},
			{"no such form", core, "text/html", "", 406, "", ""},
			{"v2", "/openapi/v2", "application/json", "", 200, "application/json", "io.k8s.api.core.v1.ConfigMap"},
			{"v2 protobuf", "/openapi/v2", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", "", 200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", "io.k8s.api.apps.v1.Deployment"},
		} {
			resp, body := get(c.path, c.accept, c.etag)
			if resp.StatusCode != c.code || (c.media != "" && resp.Header.Get("Content-Type") != c.media) || !strings.Contains(body, c.want) {
				t.Errorf("%s: %s: %s, %s, want %d and %q: %.200s", c.name, c.path, resp.Status, resp.Header.Get("Content-Type"), c.code, c.want, body)
			}
		}
	}
	if !reflect.DeepEqual(lists[0], lists[1]) {
		t.Errorf("two managers of one binary list other hashes:\n%s\n%s", lists[0], lists[1])
	}
}

// asker returns how to get a path as the administrator, without following
// redirects.
func asker(t *testing.T, d *door) func(path, accept, etag string) (*http.Response, string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return func(path, accept, etag string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if accept != "" {
			req.Header.Set("Accept", accept)
		}
		if etag != "" {
			req.Header.Set("If-None-Match", `"`+etag+`"`)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
}
