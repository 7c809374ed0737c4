package job

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const large = `
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: batch/v1
kind: Job
metadata: {name: pi, uid: pi-uid, generation: 1}
spec:
  parallelism: 1200
  completions: 1200
  backoffLimit: 6
  selector: {matchLabels: {u: pi-uid}}
  template:
    metadata: {labels: {u: pi-uid}}
    spec: {restartPolicy: Never, containers: [{name: c, image: pi:1}]}
`

// TestLargeJobCountsOnce: more pods end at once than one commit surely takes, so they
// go through the list of the uncounted. A manager may die between any two ticks and
// within one; what a prefix of a tick leaves must count every pod once.
func TestLargeJobCountsOnce(t *testing.T) {
	w := looptest.New(t, append(tables.All(), tables.Samples()...))
	w.Put(large)
	r := w.Runner(New(sow.Rules{}))
	for range 5 {
		w.Settle(r)
	}
	if n := tables.Pods.Len(w.Store.Head()); n != 1200 {
		t.Fatalf("%d pods", n)
	}
	w.Merge("{apiVersion: v1, kind: Pod, metadata: {name: pi-*, namespace: default}, status: {phase: Succeeded}}")
	listed := false
	for range 20 {
		if _, _, err := r.Tick(t.Context()); err != nil { // one: Settle would go on to the end
			t.Fatal(err)
		}
		o, _ := tables.Jobs.Get(w.Store.Head(), object.Key{Namespace: "default", Name: "pi"})
		uncounted := 0
		if u := o.Status.UncountedTerminatedPods; u != nil {
			uncounted = len(u.Succeeded)
		}
		listed = listed || uncounted > 0
		tracked := 0
		for row := range tables.Pods.Rows(w.Store.Head(), "") {
			if row.Head().JobTracked {
				tracked++
			}
		}
		if sum := int(o.Status.Succeeded) + uncounted + tracked; sum != 1200 {
			t.Fatalf("%d counted, %d listed, %d tracked: %d pods of 1200", o.Status.Succeeded, uncounted, tracked, sum)
		}
		if finished(o) == nil {
			r = w.Runner(New(sow.Rules{})) // another manager takes over
		}
	}
	o, _ := tables.Jobs.Get(w.Store.Head(), object.Key{Namespace: "default", Name: "pi"})
	if c := finished(o); c == nil || c.Type != batchv1.JobComplete || o.Status.Succeeded != 1200 {
		t.Errorf("the Job is not complete: %+v", o.Status)
	}
	if !listed {
		t.Error("no pod went through status.uncountedTerminatedPods: the test shows nothing")
	}
}

// TestPrefixOfATick replays what a crash within a tick leaves: the Job's row with the
// list, the pods as they were.
func TestPrefixOfATick(t *testing.T) {
	w := looptest.New(t, append(tables.All(), tables.Samples()...))
	w.Put(large)
	r := w.Runner(New(sow.Rules{}))
	for range 5 {
		w.Settle(r)
	}
	w.Update(func(tx *store.Tx) {
		o, _ := tables.Jobs.Get(tx, object.Key{Namespace: "default", Name: "pi"})
		next := o.DeepCopy()
		next.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
		n := 0
		var pods []*corev1.Pod
		for p := range tables.Pods.All(tx) {
			pods = append(pods, p)
		}
		for _, p := range pods {
			if n++; n > 300 {
				break
			}
			q := p.DeepCopy()
			q.Status.Phase = corev1.PodSucceeded
			tables.Pods.Put(tx, q)
			if n <= 200 {
				next.Status.UncountedTerminatedPods.Succeeded = append(next.Status.UncountedTerminatedPods.Succeeded, types.UID(p.UID))
			}
		}
		tables.Jobs.Put(tx, next)
	})
	for range 10 {
		w.Settle(r)
	}
	o, _ := tables.Jobs.Get(w.Store.Head(), object.Key{Namespace: "default", Name: "pi"})
	if o.Status.Succeeded != 300 || len(o.Status.UncountedTerminatedPods.Succeeded) != 0 {
		t.Errorf("%d counted, %d listed; want 300, 0", o.Status.Succeeded, len(o.Status.UncountedTerminatedPods.Succeeded))
	}
}

func TestIndexes(t *testing.T) {
	var s indexes
	for _, i := range []int32{3, 1, 5, 4, 9, 2, 8} {
		s = s.with([]int32{i})
	}
	if got, want := s.String(), "1-5,8,9"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, text := range []string{"", "0", "1,2", "1,3-5,7"} {
		if got := parseIndexes(text).String(); got != text {
			t.Errorf("%q reads as %q", text, got)
		}
	}
	for i := int32(0); i < 11; i++ {
		if got, want := s.has(i), i >= 1 && i <= 5 || i == 8 || i == 9; got != want {
			t.Errorf("has(%d) is %v", i, got)
		}
	}
	if n := s.below(4).len(); n != 3 {
		t.Errorf("below(4) has %d", n)
	}
	if n := s.shared(parseIndexes("4-8")); n != 3 {
		t.Errorf("shared is %d", n)
	}
	if got := fmt.Sprint(parseIndexes("1,x,3")); got != "1" {
		t.Errorf("malformed text reads as %s", got)
	}
}

// BenchmarkTrickle measures the loop in an indexed Job of 10,000 pods of which ten end
// in each tick, every other one of an index far away: the set of those done is in pieces.
func BenchmarkTrickle(b *testing.B) {
	const size, each = 10_000, 10
	for b.Loop() {
		w := looptest.New(b, append(tables.All(), tables.Samples()...))
		w.Put(strings.NewReplacer("1200", fmt.Sprint(size), "backoffLimit: 6", "completionMode: Indexed\n  backoffLimit: 6").Replace(large))
		r := w.Runner(New(sow.Rules{}))
		for tables.Pods.Len(w.Store.Head()) < size {
			w.Settle(r)
		}
		var keys []object.Key
		for row := range tables.Pods.Rows(w.Store.Head(), "") {
			keys = append(keys, row.Key())
		}
		start := time.Now()
		for i := 0; i < size/each; i++ {
			w.Update(func(tx *store.Tx) {
				for k := range each {
					pod, _ := tables.Pods.Get(tx, keys[(i+k*size/each)%size])
					next := *pod
					next.Status.Phase = corev1.PodSucceeded
					tables.Pods.Put(tx, &next)
				}
			})
			w.Settle(r)
		}
		b.ReportMetric(float64(time.Since(start).Microseconds())/size, "us/ended-pod")
		o, _ := tables.Jobs.Get(w.Store.Head(), object.Key{Namespace: "default", Name: "pi"})
		if finished(o) == nil {
			b.Fatalf("not complete: %+v", o.Status)
		}
	}
}
