package orchestrate_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/object/defaults"
	"trireme/internal/orchestrate"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// BenchmarkDeployment measures the loops alone, without a log, from a Deployment
// of 10,000 replicas to all its pods, and from all pods ready to all endpoints.
func BenchmarkDeployment(b *testing.B) {
	const replicas = 10_000
	var made, ready time.Duration
	for b.Loop() {
		s := open(b)
		r := loop.New(s, loop.Config{}, orchestrate.Loops(orchestrate.Config{})...)
		start := time.Now()
		settle(b, r)
		made += time.Since(start)
		if n := tables.Pods.Len(s.Head()); n != replicas {
			b.Fatalf("%d pods", n)
		}
		makeReady(b, s)
		start = time.Now()
		settle(b, r)
		ready += time.Since(start)
	}
	n := float64(b.N) * replicas
	b.ReportMetric(float64(made.Nanoseconds())/n, "ns/created-pod")
	b.ReportMetric(n/made.Seconds(), "created-pods/s")
	b.ReportMetric(float64(ready.Nanoseconds())/n, "ns/ready-pod")
}

func settle(b *testing.B, r *loop.Runner) {
	b.Helper()
	for again := true; again; {
		var err error
		if again, _, err = r.Tick(context.Background()); err != nil {
			b.Fatal(err)
		}
		for _, st := range r.Stats() {
			if st.Err != "" {
				b.Fatal(st.Name, st.Err)
			}
		}
	}
}

func open(b *testing.B) *store.Store {
	b.Helper()
	s, err := store.Open(context.Background(), store.Config{
		Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) },
	}, tables.Defs()...)
	if err != nil {
		b.Fatal(err)
	}
	replicas := int32(10_000)
	app := map[string]string{"app": "web"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: app},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: app},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
			},
		},
	}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: app, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	defaults.Object(d)
	defaults.Object(svc)
	update(b, s, func(tx *store.Tx) {
		tables.Namespaces.Put(tx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
		tables.Services.Put(tx, svc)
		tables.Deployments.Put(tx, d)
	})
	return s
}

func update(b *testing.B, s *store.Store, f func(*store.Tx)) {
	b.Helper()
	if _, err := s.Update(context.Background(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		b.Fatal(err)
	}
}

func makeReady(b *testing.B, s *store.Store) {
	b.Helper()
	update(b, s, func(tx *store.Tx) {
		tables.Nodes.Put(tx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
		var all []*corev1.Pod
		for p := range tables.Pods.All(tx) {
			all = append(all, p)
		}
		for _, p := range all {
			next := *p
			next.Spec.NodeName = "n1"
			next.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.128.0.1", Conditions: []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(tx.Now())},
			}}
			tables.Pods.Put(tx, &next)
		}
	})
}

// BenchmarkTrickle measures the loops in a Deployment of 10,000 pods of which ten
// get ready in each tick, as in a real start.
func BenchmarkTrickle(b *testing.B) {
	s := open(b)
	r := loop.New(s, loop.Config{}, orchestrate.Loops(orchestrate.Config{})...)
	settle(b, r)
	makeReady(b, s)
	settle(b, r)
	var keys []object.Key
	for row := range tables.Pods.Rows(s.Head(), "") {
		keys = append(keys, row.Key())
	}
	const batch = 10
	i, status := 0, corev1.ConditionFalse
	for b.Loop() {
		update(b, s, func(tx *store.Tx) {
			for range batch {
				p, _ := tables.Pods.Get(tx, keys[i])
				next := *p
				next.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(tx.Now())}}
				tables.Pods.Put(tx, &next)
				if i++; i == len(keys) {
					i = 0
					status = map[corev1.ConditionStatus]corev1.ConditionStatus{corev1.ConditionTrue: corev1.ConditionFalse, corev1.ConditionFalse: corev1.ConditionTrue}[status]
				}
			}
		})
		settle(b, r)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/pod")
}

// BenchmarkDelete measures the end of a Deployment of 10,000 pods on a node, its
// row gone, to all pods marked.
func BenchmarkDelete(b *testing.B) {
	var spent time.Duration
	for b.Loop() {
		s := open(b)
		r := loop.New(s, loop.Config{}, orchestrate.Loops(orchestrate.Config{})...)
		settle(b, r)
		makeReady(b, s)
		settle(b, r)
		update(b, s, func(tx *store.Tx) {
			tables.Deployments.Delete(tx, object.Key{Namespace: "default", Name: "web"})
		})
		start := time.Now()
		settle(b, r)
		spent += time.Since(start)
		for row := range tables.Pods.Rows(s.Head(), "") {
			if !row.Head().Deleting {
				b.Fatal(row.Key(), "is not marked")
			}
		}
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N)/10_000, "ns/pod")
}

// BenchmarkPipeline measures all stages, without a log: a Deployment of 10,000
// replicas on 1,000 nodes, to all pods bound with addresses.
func BenchmarkPipeline(b *testing.B) {
	for b.Loop() {
		s := open(b)
		nodes(b, s, 1000)
		settle(b, loop.New(s, loop.Config{}, pipeline()...))
		for row := range tables.Pods.Rows(s.Head(), "") {
			if row.Head().Node == "" || row.Head().IP == "" {
				b.Fatal(row.Key(), "is not bound")
			}
		}
	}
	b.ReportMetric(10_000*float64(b.N)/b.Elapsed().Seconds(), "bound-pods/s")
}

// nodes puts n nodes that are ready.
func nodes(b *testing.B, s *store.Store, n int) {
	update(b, s, func(tx *store.Tx) {
		for i := range n {
			room := corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110"),
			}
			tables.Nodes.Put(tx, &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i)},
				Status: corev1.NodeStatus{
					Capacity: room, Allocatable: room,
					Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
				},
			})
		}
	})
}

// BenchmarkDaemonSet measures a DaemonSet on 5,000 nodes, without a log: all pods
// bound, then ready ten at a time.
func BenchmarkDaemonSet(b *testing.B) {
	const n, batch = 5000, 10
	var bind, ready time.Duration
	for b.Loop() {
		s := open(b)
		update(b, s, func(tx *store.Tx) { tables.Deployments.Delete(tx, object.Key{Namespace: "default", Name: "web"}) })
		nodes(b, s, n)
		r := loop.New(s, loop.Config{}, pipeline()...)
		settle(b, r)
		update(b, s, func(tx *store.Tx) {
			d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d", Generation: 1}}
			d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "d"}}
			d.Spec.Template.Labels = map[string]string{"app": "d"}
			d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
			defaults.DaemonSet(d)
			tables.DaemonSets.Put(tx, d)
		})
		start := time.Now()
		settle(b, r)
		bind += time.Since(start)
		var keys []object.Key
		for row := range tables.Pods.Rows(s.Head(), "") {
			if keys = append(keys, row.Key()); row.Head().Node == "" {
				b.Fatal(row.Key(), "is not bound")
			}
		}
		if len(keys) != n {
			b.Fatalf("%d pods on %d nodes", len(keys), n)
		}
		start = time.Now()
		for some := range slices.Chunk(keys[:n/5], batch) {
			update(b, s, func(tx *store.Tx) {
				for _, key := range some {
					p, _ := tables.Pods.Get(tx, key)
					next := *p
					next.Status.Phase = corev1.PodRunning
					next.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(tx.Now())}}
					tables.Pods.Put(tx, &next)
				}
			})
			settle(b, r)
		}
		ready += time.Since(start)
	}
	b.ReportMetric(float64(n*b.N)/bind.Seconds(), "bound-pods/s")
	b.ReportMetric(float64(ready.Microseconds())/float64(n/5*b.N), "us/ready-pod")
}
