package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// saying is an agent's answer with the given counters.
func saying(at time.Time, cpu uint64, requests float64, queue float64) string {
	return fmt.Sprintf(`{"node":{"nodeName":"n1","cpu":{"time":%[1]q,"usageCoreNanoSeconds":%[2]d},"memory":{"workingSetBytes":500}},
"pods":[{"podRef":{"name":"a","namespace":"default","uid":"a-uid"},"containers":[{"name":"c","cpu":{"time":%[1]q,"usageCoreNanoSeconds":%[2]d},"memory":{"workingSetBytes":100}}],
"userDefinedMetrics":[{"name":"requests_total","type":"cumulative","value":%[3]g},{"name":"queue","type":"gauge","labels":{"q":"x"},"value":%[4]g}]},
{"podRef":{"name":"b","namespace":"default","uid":"b-uid"},"containers":[{"name":"c","cpu":{"time":%[1]q,"usageCoreNanoSeconds":5},"memory":{"workingSetBytes":1}}]}]}`,
		at.Format(time.RFC3339Nano), cpu, requests, queue)
}

// TestRounds: rates come of two readings; an agent speaks for its own pods alone; what
// nobody renews goes.
func TestRounds(t *testing.T) {
	w := looptest.New(t, append(tables.All(), tables.Samples()...))
	w.Put(`
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: z}}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, uid: a-uid, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, uid: b-uid}
spec: {nodeName: n2, containers: [{name: c, image: i}]}
`)
	m := New(w.Store, Config{Log: slog.New(slog.DiscardHandler), Now: w.Now})
	say := ""
	m.ask = func(_ context.Context, address string) (*summary, error) {
		if say == "" {
			return nil, errors.New("away")
		}
		if address != "10.0.0.1:10250" {
			t.Errorf("asked %s", address)
		}
		s := &summary{}
		return s, json.Unmarshal([]byte(say), s)
	}
	round := 0
	step := func(text string) {
		say = text
		if err := m.round(t.Context(), round); err != nil {
			t.Fatal(err)
		}
		round++
	}
	step(saying(w.Now(), 1e9, 100, 7))
	w.Advance(10 * time.Second)
	step(saying(w.Now(), 6e9, 150, 8))
	got, ok := tables.PodSamples.Get(w.Store.Head(), object.Key{Namespace: "default", Name: "a"})
	if !ok {
		t.Fatal("no sample of pod a")
	}
	want := []object.Series{{Name: "requests_total", Value: 5}, {Name: "queue", Labels: map[string]string{"q": "x"}, Value: 8}}
	if d := cmp.Diff(want, got.Series); d != "" {
		t.Errorf("series (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]object.ContainerUse{{Name: "c", CPUNano: 5e8, MemoryBytes: 100}}, got.Containers); d != "" {
		t.Errorf("containers (-want +got):\n%s", d)
	}
	if got.Labels["app"] != "web" || got.Window.Duration != 10*time.Second {
		t.Errorf("labels %v, window %v", got.Labels, got.Window)
	}
	if _, ok := tables.PodSamples.Get(w.Store.Head(), object.Key{Namespace: "default", Name: "b"}); ok {
		t.Error("an agent spoke for a pod of another node")
	}
	if n, ok := tables.NodeSamples.Get(w.Store.Head(), object.Key{Name: "n1"}); !ok || n.CPUNano != 5e8 || n.MemoryBytes != 500 || n.Labels["zone"] != "z" {
		t.Errorf("the node's sample: %+v", n)
	}
	w.Advance(time.Second)
	step(saying(w.Now(), 1, 1, 9)) // it began anew
	if got, _ := tables.PodSamples.Get(w.Store.Head(), object.Key{Namespace: "default", Name: "a"}); len(got.Series) != 1 || len(got.Containers) != 0 {
		t.Errorf("after counters began anew: %+v", got)
	}
	w.Advance(staleAfter)
	step("")
	if tables.PodSamples.Len(w.Store.Head()) != 1 {
		t.Error("a sample of just a minute is gone")
	}
	w.Advance(time.Second)
	step("")
	if n := tables.PodSamples.Len(w.Store.Head()) + tables.NodeSamples.Len(w.Store.Head()); n != 0 {
		t.Errorf("%d samples are left that nobody renews", n)
	}
}

// TestGonePods: a sample goes with its pod.
func TestGonePods(t *testing.T) {
	w := looptest.New(t, append(tables.All(), tables.Samples()...))
	m := New(w.Store, Config{Log: slog.New(slog.DiscardHandler), Now: w.Now})
	w.Update(func(tx *store.Tx) {
		tables.PodSamples.Put(tx, &object.PodSample{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "1"}, At: metav1.NewTime(w.Now())})
		tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "2"}})
	})
	if err := m.round(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if n := tables.PodSamples.Len(w.Store.Head()); n != 0 {
		t.Error("a pod of the same name took over a sample")
	}
}
