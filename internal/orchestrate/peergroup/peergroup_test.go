package peergroup_test

import (
	"fmt"
	"strings"
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/orchestrate/peergroup"
	"trireme/internal/tables"
)

func all() []looptest.Table { return append(tables.All(), tables.Samples()...) }

func loops() []loop.Reconciler { return []loop.Reconciler{peergroup.New()} }

func TestScripts(t *testing.T) { looptest.Scripts(t, "testdata/*.txtar", all(), loops) }

// One pod more among many is one row, whatever the size of its group.
func TestOnePodWritesOneRow(t *testing.T) {
	w := looptest.New(t, all())
	var b strings.Builder
	b.WriteString("{apiVersion: v1, kind: Namespace, metadata: {name: default}}\n---\n")
	b.WriteString("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}}\n")
	pod := func(i int) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: web-%03d}, spec: {nodeName: n%d}, status: {podIP: 10.128.%d.%d}}\n", i, i%10, i%10, i/10+2)
	}
	for i := range 500 {
		b.WriteString("---\n" + pod(i))
	}
	w.Put(b.String())
	r := w.Runner(loops()...)
	w.Settle(r)
	if n := tables.PeerGroups.Len(w.Store.Head()); n != 10 {
		t.Fatalf("500 pods on 10 nodes are in %d rows, want 10", n)
	}
	for name, change := range map[string]func(){
		"a pod more":       func() { w.Put(pod(501)) },
		"a pod less":       func() { w.Delete(tables.Pods.ID(), object.Key{Namespace: "default", Name: "web-007"}) },
		"a pod that ended": func() { w.Merge("{apiVersion: v1, kind: Pod, metadata: {name: web-008}, status: {phase: Failed}}") },
	} {
		change()
		before := w.Store.Head().Rev()
		w.Settle(r)
		if n := w.Store.Head().Rev() - before; n != 1 {
			t.Errorf("%s: %d writes, want 1", name, n)
		}
	}
}
