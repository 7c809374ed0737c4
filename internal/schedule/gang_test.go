package schedule

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

func testGroup(name string, least int32, topology string) *schedulingv1alpha3.PodGroup {
	g := &schedulingv1alpha3.PodGroup{}
	g.Namespace, g.Name = "default", name
	g.Spec.SchedulingPolicy.Gang = &schedulingv1alpha3.GangSchedulingPolicy{MinCount: least}
	if topology != "" {
		g.Spec.SchedulingConstraints = &schedulingv1alpha3.PodGroupSchedulingConstraints{Topology: []schedulingv1alpha3.TopologyConstraint{{Key: topology}}}
	}
	return g
}

// TestGangsWholeOrNotAtAll throws nodes, gangs and pods at the scheduler and takes pods away again. No gang has fewer pods
// with nodes than its minimum, unless it was whole and lost them; those of a topology are in one domain; a scheduler that was
// just made has nothing to add, so that no gang was forgotten; and the cell is as if no trial had been.
func TestGangsWholeOrNotAtAll(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		s, sched := newStore(t), New(Config{})
		if seed%2 == 1 {
			sched.exact = -1
		}
		at := func() time.Time { return time.Unix(1_900_000_000, 0) }
		r := loop.New(s, loop.Config{Now: at}, sched)
		whole, lost := map[string]bool{}, map[string]bool{}
		for range 25 {
			update(t, s, func(tx *store.Tx) { disturbGangs(tx, rng, lost) })
			for again := true; again; {
				var err error
				if again, _, err = r.Tick(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			checkGangs(t, s, whole, lost)
			fresh := newCell(sched.cfg.Profiles)
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
				t.Fatalf("seed %d: the cell is not what the tables say (-tables +cell):\n%s", seed, d)
			}
			rev := snap.Rev()
			if err := loop.Settle(context.Background(), s, loop.Config{Now: at}, New(Config{})); err != nil {
				t.Fatal(err)
			}
			if sched.exact >= 0 && s.Snapshot().Rev() != rev {
				t.Fatalf("seed %d: a scheduler that was just made writes more", seed)
			}
		}
		if len(whole) < 5 {
			t.Errorf("seed %d: only %d gangs were placed", seed, len(whole))
		}
	}
}

func disturbGangs(tx *store.Tx, rng *rand.Rand, lost map[string]bool) {
	n := testNode(fmt.Sprintf("n%d", rng.IntN(6)), fmt.Sprint(2+rng.IntN(4)), 8)
	n.Labels = map[string]string{"zone": fmt.Sprint(n.Name[1] % 2)}
	tables.Nodes.Put(tx, n)
	for range rng.IntN(3) {
		name := fmt.Sprintf("g%d", rng.IntN(30))
		if _, ok := tables.PodGroups.Get(tx, object.Key{Namespace: "default", Name: name}); !ok {
			tables.PodGroups.Put(tx, testGroup(name, int32(2+rng.IntN(4)), []string{"", "zone"}[rng.IntN(2)]))
		}
		for i := range rng.IntN(7) {
			p := testPod(fmt.Sprintf("%s-%d", name, i), fmt.Sprintf("%dm", 250*(1+rng.IntN(6))), "")
			p.OwnerReferences = nil
			p.Spec.SchedulingGroup = groupOf(name)
			priority := int32(name[1] % 2)
			p.Spec.Priority = &priority
			if _, ok := tables.Pods.Row(tx, object.KeyOf(p)); !ok {
				tables.Pods.Put(tx, p)
			}
		}
	}
	for row := range tables.Pods.Rows(tx, "") {
		if h := row.Head(); h.Deleting || rng.IntN(12) == 0 {
			if h.Node != "" {
				lost[h.Group] = true
			}
			tables.Pods.Delete(tx, row.Key())
		}
	}
}

func checkGangs(t *testing.T, s *store.Store, whole, lost map[string]bool) {
	t.Helper()
	snap := s.Snapshot()
	have, zones := map[string]int{}, map[string]map[string]bool{}
	for row := range tables.Pods.Rows(snap, "") {
		h := row.Head()
		if h.Group == "" {
			continue
		}
		if h.Deleting {
			lost[h.Group] = true
		}
		if h.Node != "" {
			have[h.Group]++
			n, _ := tables.Nodes.Get(snap, object.Key{Name: h.Node})
			if zones[h.Group] == nil {
				zones[h.Group] = map[string]bool{}
			}
			zones[h.Group][n.Labels["zone"]] = true
		}
	}
	for g := range tables.PodGroups.All(snap) {
		least := int(g.Spec.SchedulingPolicy.Gang.MinCount)
		if n := have[g.Name]; n >= least {
			whole[g.Name] = true
		} else if n > 0 && !(whole[g.Name] && lost[g.Name]) {
			t.Fatalf("gang %s has %d of %d pods on nodes", g.Name, n, least)
		}
		if object.GangTopology(g) != "" && len(zones[g.Name]) > 1 {
			t.Fatalf("gang %s is in %d zones", g.Name, len(zones[g.Name]))
		}
	}
}

// TestGangsDoNotStarveEachOther: of two that have no place beside each other one is placed, whole.
func TestGangsDoNotStarveEachOther(t *testing.T) {
	s := newStore(t)
	update(t, s, func(tx *store.Tx) {
		tables.Nodes.Put(tx, testNode("n", "4", 10))
		for i := range 3 {
			for _, g := range []string{"a", "b"} {
				p := testPod(fmt.Sprintf("%s%d", g, i), "1", "")
				p.OwnerReferences = nil
				p.Spec.SchedulingGroup = groupOf(g)
				tables.Pods.Put(tx, p)
			}
		}
		tables.PodGroups.Put(tx, testGroup("a", 3, ""))
		tables.PodGroups.Put(tx, testGroup("b", 3, ""))
	})
	settle(t, s)
	count := map[string]int{}
	for row := range tables.Pods.Rows(s.Snapshot(), "") {
		if h := row.Head(); h.Node != "" {
			count[h.Group]++
		}
	}
	if d := cmp.Diff(map[string]int{"a": 3}, count); d != "" {
		t.Error(d)
	}
}

// BenchmarkGang places a gang of 1,000 on 1,000 nodes, and in vain one that does not fit.
func BenchmarkGang(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s := newStore(b)
		update(b, s, func(tx *store.Tx) {
			for i := range 1000 {
				tables.Nodes.Put(tx, testNode(fmt.Sprintf("n%04d", i), "2", 110))
			}
			for _, g := range []string{"fits", "waits"} {
				tables.PodGroups.Put(tx, testGroup(g, 1000, ""))
				for i := range 1000 {
					p := testPod(fmt.Sprintf("%s%04d", g, i), map[string]string{"fits": "1500m", "waits": "1"}[g], "")
					p.OwnerReferences = nil
					p.Spec.SchedulingGroup = groupOf(g)
					tables.Pods.Put(tx, p)
				}
			}
		})
		sched := New(Config{})
		b.StartTimer()
		if err := loop.Settle(context.Background(), s, loop.Config{}, sched); err != nil {
			b.Fatal(err)
		}
		if n := sched.queue.Len(); n != 1000 {
			b.Fatalf("%d pods wait", n)
		}
	}
}

func groupOf(name string) *corev1.PodSchedulingGroup {
	return &corev1.PodSchedulingGroup{PodGroupName: &name}
}
