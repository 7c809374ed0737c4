package swarm_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/orchestrate/sow"
	loops "trireme/internal/orchestrate/swarm"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// BenchmarkService measures the loop alone, from a service of 10,000 replicas to all its
// pods, and what a look at it costs when they become ready by the hundred.
func BenchmarkService(b *testing.B) {
	const replicas = 10_000
	var made, looks time.Duration
	for b.Loop() {
		s := serviceOf(b, replicas)
		r := loop.New(s, loop.Config{}, loops.New(sow.Rules{}))
		start := time.Now()
		settle(b, r)
		made += time.Since(start)
		if n := tables.Pods.Len(s.Head()); n != replicas {
			b.Fatalf("%d pods", n)
		}
		var keys []object.Key
		for row := range tables.Pods.Rows(s.Head(), "default") {
			keys = append(keys, row.Key())
		}
		for len(keys) > 0 {
			makeReady(b, s, keys[:100])
			keys = keys[100:]
			start = time.Now()
			settle(b, r)
			looks += time.Since(start)
		}
	}
	n := float64(b.N)
	b.ReportMetric(float64(made.Microseconds())/n/replicas, "µs/created-pod")
	b.ReportMetric(float64(looks.Microseconds())/n/(replicas/100), "µs/look")
}

func settle(b *testing.B, r *loop.Runner) {
	b.Helper()
	for again := true; again; {
		var err error
		if again, _, err = r.Tick(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func serviceOf(b *testing.B, replicas uint64) *store.Store {
	b.Helper()
	s, err := store.Open(context.Background(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		b.Fatal(err)
	}
	svc := &ours.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-of-web"}}
	svc.Spec.Name, svc.Spec.TaskTemplate.ContainerSpec = "web", &swarm.ContainerSpec{Image: "web:1"}
	svc.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
	u, err := tables.Unstructured(ours.Kind, svc)
	if err != nil {
		b.Fatal(err)
	}
	change(b, s, func(tx *store.Tx) {
		tables.Namespaces.Put(tx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
		tables.CustomObjects.PutAt(tx, tables.SwarmKey(object.KeyOf(svc)), u)
	})
	return s
}

func change(b *testing.B, s *store.Store, f func(*store.Tx)) {
	b.Helper()
	if _, err := s.Update(context.Background(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		b.Fatal(err)
	}
}

func makeReady(b *testing.B, s *store.Store, keys []object.Key) {
	b.Helper()
	change(b, s, func(tx *store.Tx) {
		for i, key := range keys {
			p, _ := tables.Pods.Get(tx, key)
			next := *p
			next.Spec.NodeName = "node-" + strconv.Itoa(i)
			next.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(tx.Now())},
			}}
			tables.Pods.Put(tx, &next)
		}
	})
}
