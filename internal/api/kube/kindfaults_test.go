package kube_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// kindFaults is one document of testdata/kinds.yaml: a good object, what makes it
// a bad one at creation, and what may not be done to it once it is there.
type kindFaults struct {
	Path   string // of the list
	Good   map[string]any
	Bad    []fault
	Update []fault
	Fine   []map[string]any // changes that are taken
}

// fault is a change of an object, as a JSON merge patch, and the field that it is
// refused for.
type fault struct {
	Patch map[string]any
	Field string
}

// TestKindFaults takes every kind of testdata/kinds.yaml through the door.
func TestKindFaults(t *testing.T) {
	d := serve(t)
	client := d.raw(t)
	text, err := os.ReadFile("testdata/kinds.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(string(text), "\n---\n") {
		var k kindFaults
		if err := yaml.UnmarshalStrict([]byte(doc), &k); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		t.Run(k.Good["kind"].(string), func(t *testing.T) { d.checkFaults(t, client, k) })
	}
}

func (d *door) checkFaults(t *testing.T, client *http.Client, k kindFaults) {
	strict := "?fieldValidation=Strict"
	for _, f := range k.Bad {
		bad := encode(t, patched(k.Good, f.Patch))
		d.refused(t, client, request{"POST", k.Path + strict, "json", bad}, f)
	}
	good := encode(t, k.Good)
	if _, code, raw := d.status(t, client, "POST", k.Path+strict, "json", good); code != 201 {
		t.Fatalf("the good one: %d: %s", code, raw)
	}
	at := k.Path + "/" + k.Good["metadata"].(map[string]any)["name"].(string)
	for _, f := range k.Update {
		d.refused(t, client, request{"PATCH", at + strict, "merge-patch+json", encode(t, f.Patch)}, f)
	}
	for _, p := range k.Fine {
		if _, code, raw := d.status(t, client, "PATCH", at+strict, "merge-patch+json", encode(t, p)); code != 200 {
			t.Errorf("%v: %d: %s", p, code, raw)
		}
	}
}

// request is what is sent to the door.
type request struct{ method, path, media, body string }

// refused wants the request to be answered 422 Invalid with a cause for the field.
func (d *door) refused(t *testing.T, client *http.Client, r request, f fault) {
	t.Helper()
	st, code, raw := d.status(t, client, r.method, r.path, r.media, r.body)
	if code != 422 || st.Reason != "Invalid" || st.Details == nil {
		t.Errorf("%v: %d, want 422 Invalid for %s: %.400s", f.Patch, code, f.Field, raw)
		return
	}
	for _, c := range st.Details.Causes {
		if c.Field == f.Field && c.Message != "" {
			return
		}
	}
	t.Errorf("%v: no cause names %s: %.600s", f.Patch, f.Field, raw)
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// patched returns base with the patch merged in (RFC 7386).
func patched(base, patch map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range base {
		out[k] = v
	}
	for k, v := range patch {
		m, isMap := v.(map[string]any)
		old, _ := out[k].(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case isMap:
			out[k] = patched(old, m)
		default:
			out[k] = v
		}
	}
	return out
}
