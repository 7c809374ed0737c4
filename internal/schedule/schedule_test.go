package schedule

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.Samples()...), func() []loop.Reconciler {
		return []loop.Reconciler{New(Config{})}
	})
}

func newStore(t testing.TB) *store.Store {
	t.Helper()
	n := 0
	s, err := store.Open(context.Background(), store.Config{
		Now: func() time.Time { return time.Unix(1_900_000_000, 0) },
		NewID: func() types.UID {
			n++
			return types.UID(fmt.Sprintf("%08d-0000-4000-8000-%012d", n, n))
		},
	}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testNode(name, cpu string, pods int64) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("64Gi"), corev1.ResourcePods: *resource.NewQuantity(pods, resource.DecimalSI),
			},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

func testPod(name, cpu string, owner types.UID) *corev1.Pod {
	yes := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name,
			OwnerReferences: []metav1.OwnerReference{{UID: owner, Name: string(owner), Kind: "ReplicaSet", APIVersion: "apps/v1", Controller: &yes}},
		},
		Spec: corev1.PodSpec{SchedulerName: corev1.DefaultSchedulerName, Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
		}}}},
	}
}

func update(t testing.TB, s *store.Store, f func(tx *store.Tx)) {
	t.Helper()
	if _, err := s.Update(context.Background(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// TestNeverOvercommits throws nodes and pods at the scheduler, takes some away
// again, and checks that no node is promised more than it has and that the cell
// equals one that was just built. Half of the seeds look only at lines that something has got better for.
func TestNeverOvercommits(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s, sched := newStore(t), New(Config{})
		if seed%2 == 1 {
			sched.exact = -1
		}
		r := loop.New(s, loop.Config{Now: func() time.Time { return time.Unix(1_900_000_000, 0) }}, sched)
		for range 30 {
			update(t, s, func(tx *store.Tx) { disturb(tx, rng) })
			for {
				again, _, err := r.Tick(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				if !again {
					break
				}
			}
			checkCell(t, s, sched)
		}
	}
}

func disturb(tx *store.Tx, rng *rand.Rand) {
	name := fmt.Sprintf("n%d", rng.IntN(6))
	switch rng.IntN(5) {
	case 0:
		tables.Nodes.Delete(tx, object.Key{Name: name})
	case 1, 2:
		n := testNode(name, fmt.Sprint(1+rng.IntN(8)), int64(1+rng.IntN(12)))
		tables.Nodes.Put(tx, n)
	}
	for range rng.IntN(8) {
		key := object.Key{Namespace: "default", Name: fmt.Sprintf("p%d", rng.IntN(60))}
		if _, ok := tables.Pods.Row(tx, key); ok {
			tables.Pods.Delete(tx, key)
			continue
		}
		p := testPod(key.Name, fmt.Sprintf("%dm", 100*(1+rng.IntN(20))), types.UID(fmt.Sprintf("rs%d", rng.IntN(3))))
		priority := int32(rng.IntN(3))
		p.Spec.Priority = &priority
		if rng.IntN(4) == 0 {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80, Protocol: corev1.ProtocolTCP}}
		}
		tables.Pods.Put(tx, p)
	}
	for row := range tables.Pods.By(tx, tables.PodsDeleting, "true") {
		if rng.IntN(2) == 0 {
			tables.Pods.Delete(tx, row.Key()) // its node has let go
		}
	}
}

func checkCell(t *testing.T, s *store.Store, sched *Scheduler) {
	t.Helper()
	fresh := newCell(nil)
	snap := s.Snapshot()
	for n := range tables.Nodes.All(snap) {
		fresh.setNode(n.Name, n)
	}
	for row := range tables.Pods.Rows(snap, "") {
		fresh.setPod(snap, row.Key(), row.Head())
		if row.Head().Waits {
			fresh.nominate(row.Object())
		}
	}
	if d := cmp.Diff(state(fresh), state(sched.cell)); d != "" {
		t.Fatalf("the cell is not what the tables say (-tables +cell):\n%s", d)
	}
	for _, n := range fresh.nodes {
		for p, count := range n.Ports {
			if count > 1 {
				t.Fatalf("port %v of %s is bound %d times", p, n.name, count)
			}
		}
	}
	for row := range tables.Pods.Rows(snap, "") {
		if h := row.Head(); h.Node == "" {
			if c := object.PodCondition(row.Object(), corev1.PodScheduled); c == nil || c.Message == "" {
				t.Fatalf("pod %v has no node and no reason", row.Key())
			}
			reasons, _ := Explain(snap, row.Object())
			for _, r := range reasons {
				if len(r.Reasons) == 0 {
					t.Fatalf("pod %v waits, and node %s would take it", row.Key(), r.Node)
				}
			}
		}
	}
}

type nodeState struct {
	Used   object.Demand
	Pods   int64
	Ports  int
	Owners map[types.UID]int64
	Held   map[object.Key]bool // true: leaving
	Kept   map[object.Key]bool
}

func state(c *cell) map[string]nodeState {
	out := map[string]nodeState{}
	for name, n := range c.nodes {
		st := nodeState{n.Used, n.Pods, len(n.Ports), map[types.UID]int64{}, map[object.Key]bool{}, map[object.Key]bool{}}
		for _, u := range n.held {
			st.Held[u.key] = u.leaving
		}
		for key := range n.nominated {
			st.Kept[key] = true
		}
		for owner, k := range c.kin {
			if k[n.slot] > 0 {
				st.Owners[owner] = k[n.slot]
			}
		}
		out[name] = st
	}
	return out
}

// BenchmarkPlace places 10,000 pods of one class on 1,000 nodes in ticks of a
// store without a log.
func BenchmarkPlace(b *testing.B) {
	const nodes, pods = 1000, 10_000
	for b.Loop() {
		b.StopTimer()
		s := newStore(b)
		update(b, s, func(tx *store.Tx) {
			for i := range nodes {
				tables.Nodes.Put(tx, testNode(fmt.Sprintf("n%04d", i), "32", 110))
			}
			for i := range pods {
				tables.Pods.Put(tx, testPod(fmt.Sprintf("p%05d", i), "100m", "rs"))
			}
		})
		sched := New(Config{})
		b.StartTimer()
		if err := loop.Settle(context.Background(), s, loop.Config{}, sched); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if sched.queue.Len() > 0 {
			b.Fatalf("%d pods wait", sched.queue.Len())
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(pods*b.N)/b.Elapsed().Seconds(), "pods/s")
}
