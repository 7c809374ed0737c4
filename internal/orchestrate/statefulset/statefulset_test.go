package statefulset_test

import (
	"testing"
	"time"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/gc"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/orchestrate/statefulset"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// The scripts run with the garbage collector, which ends claims with their owners.
func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.Samples()...), func() []loop.Reconciler {
		return []loop.Reconciler{statefulset.New(sow.Rules{}), gc.New()}
	})
}

// TestReplacementIsAnotherPod wants watchers to see the end of a failed pod and a
// new one, not one pod that changes: the two may not share a transaction.
func TestReplacementIsAnotherPod(t *testing.T) {
	w := looptest.New(t, append(tables.All(), tables.Samples()...))
	r := w.Runner(statefulset.New(sow.Rules{}))
	w.Put(`{apiVersion: v1, kind: Namespace, metadata: {name: default}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: web}, spec: {replicas: 1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}`)
	w.Settle(r)
	w.Advance(2 * time.Second)
	w.Merge(`{apiVersion: v1, kind: Pod, metadata: {name: web-0}, spec: {nodeName: n1}, status: {phase: Failed}}`)
	from := w.Store.Head().Rev()
	w.Settle(r)
	var seen []store.EventType
	for e, err := range w.Store.Events(t.Context(), from, tables.Pods) {
		if err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, e.Type()); len(seen) == 2 {
			break
		}
	}
	if seen[0] != store.Deleted || seen[1] != store.Created {
		t.Errorf("watchers saw %v, want the old pod deleted and a new one created", seen)
	}
}
