package replicaset_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/orchestrate/replicaset"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/tables"
)

// TestPace has 64 pods come to run one after another, and two of them fail.
func TestPace(t *testing.T) {
	const replicas = 64
	w := looptest.New(t, append(tables.All(), tables.Samples()...))
	r := w.Runner(replicaset.New(sow.Rules{Allow: pods}))
	w.Put(fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web, generation: 1}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: web}]}
`, replicas))
	w.Settle(r)
	var names []string
	for row := range tables.Pods.Rows(w.Store.Head(), "default") {
		names = append(names, row.Key().Name)
	}
	if len(names) != replicas {
		t.Fatalf("%d pods, want %d", len(names), replicas)
	}
	web := object.Key{Namespace: "default", Name: "web"}
	told := func() int {
		rs, _ := tables.ReplicaSets.Get(w.Store.Head(), web)
		return int(rs.Status.AvailableReplicas)
	}
	ready := func(pods []string, is string) {
		var docs strings.Builder
		for _, name := range pods {
			fmt.Fprintf(&docs, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nstatus: {phase: Running, conditions: [{type: Ready, status: %q}]}\n", name, is)
		}
		w.Merge(docs.String())
		w.Settle(r)
	}
	for _, c := range []struct {
		about    string
		after    time.Duration
		pods     []string
		is       string
		toldThen int
	}{
		{"the first after a pause", time.Minute, names[:1], "True", 1},
		{"a few more within the second", 0, names[1:4], "True", 1},
		{"a sixteenth", 0, names[4:5], "True", 5},
		{"a few more", 0, names[5:7], "True", 5},
		{"the second is over", time.Second, nil, "", 7},
		{"a few more", 0, names[7:9], "True", 7},
		{"two fail", 0, names[:2], "False", 7},
		{"three more fail", 0, names[2:5], "False", 4},
		{"all but three", 0, append(names[:5:5], names[9:replicas-3]...), "True", replicas - 3},
		{"all but one", 0, names[replicas-3 : replicas-1], "True", replicas - 3},
		{"the last", 0, names[replicas-1:], "True", replicas},
	} {
		w.Advance(c.after)
		if c.pods == nil {
			w.Settle(r)
		} else {
			ready(c.pods, c.is)
		}
		if got := told(); got != c.toldThen {
			t.Errorf("%s: the status says that %d are available, want %d", c.about, got, c.toldThen)
		}
	}
}
