package schedule

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// held reads a pod that runs: NAME NODE CPU PRIORITY, and what more follows:
// app=LABEL, age=SECONDS, leaving.
func held(t *testing.T, line string) *corev1.Pod {
	t.Helper()
	f := strings.Fields(line)
	var priority int32
	if _, err := fmt.Sscan(f[3], &priority); err != nil {
		t.Fatal(err)
	}
	p := testPod(f[0], f[2], "rs")
	p.Spec.NodeName, p.Spec.Priority = f[1], &priority
	p.Status.Phase = corev1.PodRunning
	made := time.Unix(1_800_000_000, 0)
	for _, more := range f[4:] {
		what, value, _ := strings.Cut(more, "=")
		switch what {
		case "app":
			p.Labels = map[string]string{"app": value}
		case "age":
			seconds, err := time.ParseDuration(value + "s")
			if err != nil {
				t.Fatal(err)
			}
			made = made.Add(-seconds)
		case "leaving":
			at, grace := metav1.Unix(1_900_000_030, 0), int64(30)
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
		default:
			t.Fatalf("%q: what is %s?", line, more)
		}
	}
	p.CreationTimestamp = metav1.NewTime(made)
	return p
}

func guard(app string, allowed int32) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed},
	}
}

// TestVictims says who has to go for a pod of priority 100 on nodes of 4 cpus.
func TestVictims(t *testing.T) {
	for name, tc := range map[string]struct {
		nodes   string // names; a: and b: where empty
		pods    []string
		budgets map[string]int32
		want    string // cpus that the pod asks for; 4 where empty
		never   bool
		node    string // where it is to go, "" for nowhere
		victims string
	}{
		"nobody of lower priority":    {pods: []string{"x a 4 100", "y b 4 200"}},
		"lower ones do not suffice":   {pods: []string{"x a 3 100", "y a 1 0", "z b 4 100"}},
		"the only one lower":          {pods: []string{"x a 4 100", "y b 4 99"}, node: "b", victims: "y"},
		"never":                       {pods: []string{"x a 4 0"}, nodes: "a", never: true},
		"lowest highest victim":       {pods: []string{"x a 4 50", "y b 2 40", "z b 2 40"}, node: "b", victims: "y z"},
		"smallest sum":                {pods: []string{"x a 2 50", "x2 a 2 40", "y b 2 50", "y2 b 2 30"}, node: "b", victims: "y y2"},
		"fewest victims":              {pods: []string{"x a 2 0", "x2 a 2 0", "y b 4 0"}, node: "b", victims: "y"},
		"latest start":                {pods: []string{"x a 4 0 age=10", "y b 4 0 age=5"}, node: "b", victims: "y"},
		"by name":                     {pods: []string{"x a 4 0", "y b 4 0"}, node: "a", victims: "x"},
		"only as many as needed":      {pods: []string{"x a 1 0 age=9", "y a 1 0 age=8", "z a 1 0 age=7", "w a 1 100"}, nodes: "a", want: "2", node: "a", victims: "y z"},
		"the less important go":       {pods: []string{"x a 1 5", "y a 1 0", "z a 2 50"}, nodes: "a", want: "2", node: "a", victims: "x y"},
		"budgets weigh most":          {pods: []string{"x a 4 0 app=g", "y b 4 50"}, budgets: map[string]int32{"g": 0}, node: "b", victims: "y"},
		"a budget that can bear it":   {pods: []string{"x a 4 0 app=g", "y b 4 50"}, budgets: map[string]int32{"g": 1}, node: "a", victims: "x"},
		"a budget that can bear one":  {pods: []string{"x a 2 0 app=g", "x2 a 2 0 app=g", "y b 4 50"}, budgets: map[string]int32{"g": 1}, node: "b", victims: "y"},
		"a budget as the last resort": {pods: []string{"x a 4 0 app=g"}, nodes: "a", budgets: map[string]int32{"g": 0}, node: "a", victims: "x"},
		"guarded ones stay if others suffice": {
			pods: []string{"x a 2 0 app=g", "y a 2 50"}, nodes: "a", budgets: map[string]int32{"g": 0}, want: "2", node: "a", victims: "y",
		},
		"who leaves anyway is no loss":    {pods: []string{"x a 4 0", "y b 4 50 leaving"}, node: "b"},
		"who leaves is counted out":       {pods: []string{"x a 2 0 leaving", "y a 2 0"}, nodes: "a", node: "a", victims: "y"},
		"a node that refuses it for good": {pods: []string{"x a 4 50", "y down 4 0"}, nodes: "a down", node: "a", victims: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			update(t, s, func(tx *store.Tx) {
				for _, name := range strings.Fields(cmp.Or(tc.nodes, "a b")) {
					n := testNode(name, "4", 10)
					if name == "down" {
						n.Status.Conditions[0].Status = corev1.ConditionFalse
					}
					tables.Nodes.Put(tx, n)
				}
				for _, line := range tc.pods {
					tables.Pods.Put(tx, held(t, line))
				}
				for app, allowed := range tc.budgets {
					tables.PodDisruptionBudgets.Put(tx, guard(app, allowed))
				}
				p := held(t, "p - "+cmp.Or(tc.want, "4")+" 100")
				p.Spec.NodeName = ""
				if tc.never {
					never := corev1.PreemptNever
					p.Spec.PreemptionPolicy = &never
				}
				tables.Pods.Put(tx, p)
			})
			before := s.Snapshot()
			settle(t, s)
			var victims []string
			for row := range tables.Pods.Rows(s.Snapshot(), "") {
				was, _ := tables.Pods.Row(before, row.Key())
				if p := row.Object(); row.Head().Deleting && !was.Head().Deleting {
					victims = append(victims, p.Name)
					if c := object.PodCondition(p, corev1.DisruptionTarget); c == nil || c.Reason != corev1.PodReasonPreemptionByScheduler {
						t.Errorf("victim %s has the condition %v", p.Name, c)
					}
				}
			}
			slices.Sort(victims)
			p, _ := tables.Pods.Get(s.Snapshot(), object.Key{Namespace: "default", Name: "p"})
			if got := strings.Join(victims, " "); got != tc.victims || p.Status.NominatedNodeName != tc.node || p.Spec.NodeName != "" {
				t.Errorf("victims %q, nominated %q, on %q; want %q, %q, none", got, p.Status.NominatedNodeName, p.Spec.NodeName, tc.victims, tc.node)
			}
		})
	}
}

func settle(t *testing.T, s *store.Store) {
	t.Helper()
	if err := loop.Settle(context.Background(), s, loop.Config{Now: func() time.Time { return time.Unix(1_900_000_000, 0) }}, New(Config{})); err != nil {
		t.Fatal(err)
	}
}

// TestPreemptorsDoNotStorm has ten pods want room on one node at once: each gets its
// own victim, nobody is evicted twice, and the victims' successors get nothing.
func TestPreemptorsDoNotStorm(t *testing.T) {
	s, sched := newStore(t), New(Config{})
	r := loop.New(s, loop.Config{Now: func() time.Time { return time.Unix(1_900_000_000, 0) }}, sched)
	step := func() {
		for again := true; again; {
			var err error
			if again, _, err = r.Tick(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func(prefix string, is func(*corev1.Pod) bool) (n int) {
		for row := range tables.Pods.Rows(s.Snapshot(), "") {
			if strings.HasPrefix(row.Key().Name, prefix) && is(row.Object()) {
				n++
			}
		}
		return n
	}
	update(t, s, func(tx *store.Tx) {
		tables.Nodes.Put(tx, testNode("a", "20", 100))
		for i := range 20 {
			tables.Pods.Put(tx, held(t, fmt.Sprintf("low%02d a 1 0", i)))
		}
	})
	step()
	update(t, s, func(tx *store.Tx) {
		for i := range 10 {
			p := held(t, fmt.Sprintf("high%d - 1 10", i))
			p.Spec.NodeName = ""
			tables.Pods.Put(tx, p)
			next := held(t, fmt.Sprintf("next%d - 1 0", i))
			next.Spec.NodeName = ""
			tables.Pods.Put(tx, next)
		}
	})
	for round := range 12 {
		step()
		checkCell(t, s, sched)
		leaving := count("low", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
		placed := count("high", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
		if leaving+placed != 10 {
			t.Fatalf("round %d: %d leave and %d are placed, want 10 together", round, leaving, placed)
		}
		update(t, s, func(tx *store.Tx) {
			for row := range tables.Pods.By(tx, tables.PodsDeleting, "true") {
				tables.Pods.Delete(tx, row.Key())
				break
			}
		})
	}
	if n := count("high", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" && p.Status.NominatedNodeName == "" }); n != 10 {
		t.Errorf("%d of 10 were placed", n)
	}
	if n := count("next", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" }); n != 0 {
		t.Errorf("%d of lower priority took the room", n)
	}
}

// TestNominationEnds checks that room is not kept for a pod that is gone or found
// another place.
func TestNominationEnds(t *testing.T) {
	s, sched := newStore(t), New(Config{})
	r := loop.New(s, loop.Config{Now: func() time.Time { return time.Unix(1_900_000_000, 0) }}, sched)
	do := func(f func(tx *store.Tx)) {
		update(t, s, f)
		for again := true; again; {
			var err error
			if again, _, err = r.Tick(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		checkCell(t, s, sched)
	}
	nodeOf := func(name string) string {
		p, ok := tables.Pods.Get(s.Snapshot(), object.Key{Namespace: "default", Name: name})
		if !ok {
			t.Fatalf("pod %s is gone", name)
		}
		return p.Spec.NodeName
	}
	waits := func(name string, priority int) *corev1.Pod {
		p := held(t, fmt.Sprintf("%s - 4 %d", name, priority))
		p.Spec.NodeName = ""
		return p
	}
	do(func(tx *store.Tx) {
		tables.Nodes.Put(tx, testNode("a", "4", 10))
		tables.Pods.Put(tx, held(t, "victim a 4 0"))
		tables.Pods.Put(tx, waits("high", 10))
		tables.Pods.Put(tx, waits("low", 0))
	})
	do(func(tx *store.Tx) { tables.Nodes.Put(tx, testNode("b", "4", 10)) })
	if on := nodeOf("high"); on != "b" {
		t.Fatalf("high is on %q, want the node that came", on)
	}
	do(func(tx *store.Tx) { tables.Pods.Delete(tx, object.Key{Namespace: "default", Name: "victim"}) })
	if on := nodeOf("low"); on != "a" {
		t.Fatalf("low is on %q, want where room had been kept for high", on)
	}
	do(func(tx *store.Tx) { tables.Pods.Put(tx, waits("higher", 5)) })
	do(func(tx *store.Tx) { tables.Pods.Put(tx, waits("highest", 9)) })
	p, _ := tables.Pods.Get(s.Snapshot(), object.Key{Namespace: "default", Name: "higher"})
	if p.Status.NominatedNodeName != "" {
		t.Errorf("higher keeps its room on %s beside highest", p.Status.NominatedNodeName)
	}
	do(func(tx *store.Tx) { tables.Pods.Delete(tx, object.Key{Namespace: "default", Name: "low"}) })
	if on := nodeOf("highest"); on != "a" {
		t.Errorf("highest is on %q, want a", on)
	}
}

// BenchmarkPreempt makes room for 100 pods on 1,000 full nodes.
func BenchmarkPreempt(b *testing.B) {
	const nodes, each, pods = 1000, 30, 100
	for b.Loop() {
		b.StopTimer()
		s := newStore(b)
		update(b, s, func(tx *store.Tx) {
			for i := range nodes {
				name := fmt.Sprintf("n%04d", i)
				tables.Nodes.Put(tx, testNode(name, fmt.Sprint(each), 110))
				for j := range each {
					p := testPod(fmt.Sprintf("p%04d-%02d", i, j), "1", "rs")
					p.Spec.NodeName = name
					tables.Pods.Put(tx, p)
				}
			}
		})
		sched := New(Config{})
		r := loop.New(s, loop.Config{}, sched)
		if _, _, err := r.Tick(context.Background()); err != nil {
			b.Fatal(err)
		}
		update(b, s, func(tx *store.Tx) {
			high := int32(10)
			for i := range pods {
				p := testPod(fmt.Sprintf("h%03d", i), "3", "high")
				p.Spec.Priority = &high
				tables.Pods.Put(tx, p)
			}
		})
		b.StartTimer()
		for again := true; again; {
			var err error
			if again, _, err = r.Tick(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		if n := len(sched.cell.nominated); n != pods {
			b.Fatalf("%d of %d have room kept", n, pods)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(pods*b.N)/b.Elapsed().Seconds(), "pods/s")
}
