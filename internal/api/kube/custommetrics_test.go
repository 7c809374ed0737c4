package kube_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestCustomMetrics: what pods show is there for clients of custom.metrics.k8s.io, until
// an adapter is registered for the group.
func TestCustomMetrics(t *testing.T) {
	d := serve(t)
	c := d.client(t)
	sample := func(name, app string, series ...object.Series) *object.PodSample {
		return &object.PodSample{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": app}}, Series: series}
	}
	if _, err := d.store.Update(t.Context(), func(tx *store.Tx) error {
		tables.PodSamples.Put(tx, sample("a", "web", object.Series{Name: "queue", Labels: map[string]string{"q": "x"}, Value: 1.5}, object.Series{Name: "queue", Value: 2}))
		tables.PodSamples.Put(tx, sample("b", "db", object.Series{Name: "queue", Value: 7}, object.Series{Name: "hits", Value: 1}))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	get := func(path string) string {
		b, err := c.Discovery().RESTClient().Get().RequestURI("/apis/custom.metrics.k8s.io"+path).SetHeader("Accept", "application/json").DoRaw(t.Context())
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	groups := func() (have bool) {
		l, err := c.Discovery().ServerGroups()
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range l.Groups {
			have = have || g.Name == "custom.metrics.k8s.io" && g.PreferredVersion.Version == "v1beta2"
		}
		return have
	}
	until(t, "the group is in discovery", groups)
	for _, tt := range []struct {
		path string
		want []string
		not  string
	}{
		{"", []string{`"preferredVersion":{"groupVersion":"custom.metrics.k8s.io/v1beta2"`}, ""},
		{"/v1beta2", []string{`"name":"pods/hits"`, `"name":"pods/queue"`}, ""},
		{"/v1beta2/namespaces/default/pods/*/queue", []string{`"name":"a"`, `"value":"3500m"`, `"name":"b"`, `"value":"7"`}, ""},
		{"/v1beta2/namespaces/default/pods/*/queue?labelSelector=app%3Dweb&metricLabelSelector=q%3Dx", []string{`"value":"1500m"`}, `"name":"b"`},
		{"/v1beta2/namespaces/default/pods/b/hits", []string{`"value":"1"`}, `"name":"a"`},
		{"/v1beta2/namespaces/default/pods/a/hits", []string{"could not find"}, ""},
		{"/v1beta2/namespaces/other/pods/*/queue", []string{"could not find"}, ""},
		{"/v1beta2/namespaces/default/pods/*/queue?labelSelector=((", []string{"rejected"}, ""},
		{"/v1beta1/namespaces/default/pods/*/queue", []string{"could not find"}, ""},
	} {
		got := get(tt.path)
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", tt.path, got, want)
			}
		}
		if tt.not != "" && strings.Contains(got, tt.not) {
			t.Errorf("%s: %s, want no %s", tt.path, got, tt.not)
		}
	}
	d.must(t, `# YAML
{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1beta1.custom.metrics.k8s.io},
 spec: {group: custom.metrics.k8s.io, version: v1beta1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {namespace: x, name: adapter}}}`, "create", "-f", "-")
	until(t, "the group is the adapter's alone", func() bool { return !groups() && strings.Contains(get("/v1beta2"), "could not find") })
}
