package store_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// memoryLog keeps what is appended, with its history.
type memoryLog struct {
	rows    map[string]store.Entry
	history []store.Change
	floor   store.Rev
}

func (l *memoryLog) Append(_ context.Context, entries []store.Entry) error {
	for _, e := range entries {
		l.history = append(l.history, store.Change{Entry: e, Old: l.rows[e.Key].Value})
		if l.rows[e.Key] = e; e.Value == nil {
			delete(l.rows, e.Key)
		}
	}
	return nil
}

func (l *memoryLog) Load(context.Context) (*store.Contents, error) {
	c := &store.Contents{History: l.history, Floor: l.floor}
	for _, k := range slices.Sorted(maps.Keys(l.rows)) {
		c.Rows = append(c.Rows, l.rows[k])
		c.Rev = max(c.Rev, l.rows[k].Rev)
	}
	for _, h := range l.history {
		c.Rev = max(c.Rev, h.Rev)
	}
	return c, nil
}

// running opens a store over the log and commits until the test or stop ends it.
func running(t *testing.T, l *memoryLog) (s *store.Store, stop func()) {
	t.Helper()
	s = open(t, store.Config{Log: l})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return s, stop
}

func site(ns, name string, size int64) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Site", "spec": map[string]any{"size": size}}}
	u.SetNamespace(ns)
	u.SetName(name)
	return u
}

func siteKey(ns, name string) object.Key {
	return tables.CustomPlace{Group: "example.com", Plural: "sites", Key: object.Key{Namespace: ns, Name: name}}.CustomKey()
}

// Custom objects are all there after a restart, in Kubernetes' layout, with their
// revisions, and whoever watched them goes on where it was.
func TestCustomObjectsRestart(t *testing.T) {
	l := &memoryLog{rows: map[string]store.Entry{}}
	s, stop := running(t, l)
	write := func(f func(tx *store.Tx)) store.Rev {
		t.Helper()
		rev, err := s.Update(t.Context(), func(tx *store.Tx) error { f(tx); return nil })
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	first := write(func(tx *store.Tx) { tables.CustomObjects.PutAt(tx, siteKey("default", "a"), site("default", "a", 1)) })
	write(func(tx *store.Tx) { tables.ConfigMaps.Put(tx, configMap("c", "1")) })
	second := write(func(tx *store.Tx) {
		o, _ := tables.CustomObjects.Get(tx, siteKey("default", "a"))
		next := o.DeepCopy()
		next.Object["spec"] = map[string]any{"size": int64(2)}
		tables.CustomObjects.PutAt(tx, siteKey("default", "a"), next)
		tables.CustomObjects.PutAt(tx, siteKey("other", "b"), site("other", "b", 3))
	})
	third := write(func(tx *store.Tx) { tables.CustomObjects.Delete(tx, siteKey("other", "b")) })
	stop()
	if _, ok := l.rows["/registry/example.com/sites/default/a"]; !ok {
		t.Errorf("the log holds %v", slices.Collect(maps.Keys(l.rows)))
	}
	s, _ = running(t, l)
	o, ok := tables.CustomObjects.Get(s.Snapshot(), siteKey("default", "a"))
	if size, _, _ := unstructured.NestedInt64(o.Object, "spec", "size"); !ok || size != 2 || o.GetResourceVersion() != (second-1).String() {
		t.Fatalf("after the restart: %v", o)
	}
	var got []string
	for e, err := range s.Events(t.Context(), first, tables.CustomObjects) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(e.Type(), " ", e.Key(), " ", e.Object().GetResourceVersion()))
		if e.Rev == third {
			break
		}
	}
	want := []string{
		fmt.Sprint(store.Changed, " example.com/sites/default/a ", second-1),
		fmt.Sprint(store.Created, " example.com/sites/other/b ", second),
		fmt.Sprint(store.Deleted, " example.com/sites/other/b ", third),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("a watch that resumes (-want +got):\n%s", d)
	}
	l.floor, l.history = second, nil
	s, _ = running(t, l)
	for _, err := range s.Events(t.Context(), first, tables.CustomObjects) {
		if !kind.Is(err, kind.Gone) {
			t.Errorf("a watch from before the history: %v, want gone", err)
		}
	}
}

// What Kubernetes keeps beside custom objects is nobody's and stays in the log.
func TestCustomObjectsClaim(t *testing.T) {
	l := &memoryLog{rows: map[string]store.Entry{}}
	for key, value := range map[string]string{
		"/registry/ranges/serviceips":                    "k8s\x00...",
		"/registry/masterleases/10.0.0.1":                "k8s\x00...",
		"/registry/internal.apiserver.k8s.io/x/y":        "k8s\x00...",
		"/registry/plain/sites/default/a":                `{"apiVersion":"v1","kind":"X","metadata":{"name":"a"}}`,
		"/registry/example.com/zones/z":                  `{"apiVersion":"example.com/v1","kind":"Zone","metadata":{"name":"z","uid":"u"}}`,
		"/registry/example.com/sites/default/a":          `{"apiVersion":"example.com/v1","kind":"Site","metadata":{"name":"a","namespace":"default","uid":"u"}}`,
		"/registry/example.com/sites/default/a/too/deep": `{}`,
	} {
		l.rows[key] = store.Entry{Key: key, Value: []byte(value), Rev: 7}
	}
	s, _ := running(t, l)
	var got []string
	for row := range tables.CustomObjects.Rows(s.Snapshot(), "") {
		got = append(got, row.Key().String()+"@"+row.Object().GetResourceVersion())
	}
	if d := cmp.Diff([]string{"example.com/sites/default/a@7", "example.com/zones/z@7"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Kubernetes stores definitions as v1beta1.
func TestOlderDefinition(t *testing.T) {
	key := "/registry/apiextensions.k8s.io/customresourcedefinitions/sites.example.com"
	l := &memoryLog{rows: map[string]store.Entry{key: {Key: key, Rev: 3, Value: []byte(`{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1",
"metadata":{"name":"sites.example.com","uid":"u"},"spec":{"group":"example.com","version":"v1","scope":"Namespaced","preserveUnknownFields":false,
"names":{"plural":"sites","singular":"site","kind":"Site","listKind":"SiteList"},"versions":[{"name":"v1","served":true,"storage":true}],
"subresources":{"status":{}},"additionalPrinterColumns":[{"name":"Size","type":"integer","JSONPath":".spec.size"}],
"validation":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"integer"}}}}}}}}`)}}}
	s, _ := running(t, l)
	d, ok := tables.CustomResourceDefinitions.Get(s.Snapshot(), object.Key{Name: "sites.example.com"})
	if !ok {
		t.Fatal("it is not there")
	}
	v := d.Spec.Versions[0]
	if v.Schema == nil || v.Subresources == nil || len(v.AdditionalPrinterColumns) != 1 || v.AdditionalPrinterColumns[0].JSONPath != ".spec.size" {
		t.Errorf("read as %+v", v)
	}
}
