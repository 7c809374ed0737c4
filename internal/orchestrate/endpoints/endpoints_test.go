package endpoints_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/orchestrate/endpoints"
	"trireme/internal/store"
	"trireme/internal/tables"
)

func loops() []loop.Reconciler { return []loop.Reconciler{endpoints.New()} }

func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", tables.All(), loops)
}

// many is 250 pods behind one service.
func many(t *testing.T) *looptest.World {
	t.Helper()
	w := looptest.New(t, tables.All())
	var b strings.Builder
	b.WriteString("{apiVersion: v1, kind: Namespace, metadata: {name: default}}\n---\n")
	b.WriteString("{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}\n")
	for i := range 250 {
		fmt.Fprintf(&b, "---\n{apiVersion: v1, kind: Pod, metadata: {name: web-%03d, labels: {app: web}}, status: {podIP: 10.128.0.%d}}\n", i, i)
	}
	w.Put(b.String())
	return w
}

func TestOneChangedPodWritesOneSlice(t *testing.T) {
	w := many(t)
	r := w.Runner(loops()...)
	w.Settle(r)
	sizes := map[int]int{}
	for sl := range tables.EndpointSlices.All(w.Store.Head()) {
		sizes[len(sl.Endpoints)]++
	}
	if sizes[100] != 2 || sizes[50] != 1 || len(sizes) != 2 {
		t.Fatalf("250 endpoints stand in slices of (size: how many) %v", sizes)
	}
	w.Diff()
	w.Update(func(tx *store.Tx) {
		pod, _ := tables.Pods.Get(tx, object.Key{Namespace: "default", Name: "web-007"})
		next := pod.DeepCopy()
		next.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		tables.Pods.Put(tx, next)
	})
	before := w.Store.Head().Rev()
	w.Settle(r)
	if n := w.Store.Head().Rev() - before; n != 1 {
		t.Errorf("one pod got ready: %d writes, want 1 (its slice; the old form waits)", n)
	}
	w.Advance(time.Second)
	w.Settle(r)
	if n := w.Store.Head().Rev() - before; n != 2 {
		t.Errorf("a second later: %d writes, want 2 (the old form too)", n)
	}
}

func TestSlicesAreFilledUp(t *testing.T) {
	w := many(t)
	r := w.Runner(loops()...)
	w.Settle(r)
	for i := range 60 {
		w.Delete(tables.Pods.ID(), object.Key{Namespace: "default", Name: fmt.Sprintf("web-%03d", i)})
	}
	w.Settle(r)
	w.Put("{apiVersion: v1, kind: Pod, metadata: {name: web-new, labels: {app: web}}, status: {podIP: 10.128.1.1}}")
	w.Settle(r)
	if n := tables.EndpointSlices.Len(w.Store.Head()); n != 3 {
		t.Errorf("%d slices, want 3: there was room", n)
	}
}
