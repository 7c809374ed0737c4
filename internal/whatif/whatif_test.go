package whatif_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/object/plan"
	"trireme/internal/orchestrate"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/schedule"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/whatif"
)

func loops() []loop.Reconciler {
	return append(orchestrate.PodLoops(sow.Rules{}), schedule.New(schedule.Config{}))
}

// desk is a cluster in memory, at rest, that questions are asked about.
type desk struct {
	t *testing.T
	*looptest.World
}

func newDesk(t *testing.T, docs string) *desk {
	d := &desk{t, looptest.New(t, append(tables.All(), tables.Samples()...))}
	d.Put(docs)
	d.rest()
	return d
}

// rest lets the loops come to rest and the pods with a node run.
func (d *desk) rest() {
	d.t.Helper()
	for range 2 {
		if err := loop.Settle(d.t.Context(), d.Store, loop.Config{Now: d.Now}, loops()...); err != nil {
			d.t.Fatal(err)
		}
		d.Update(func(tx *store.Tx) {
			for row := range tables.Pods.Rows(tx, "") {
				if h := row.Head(); h.Node != "" && !h.Ready {
					tables.Pods.Put(tx, whatif.Running(row.Object(), tx.Now()))
				}
			}
		})
	}
}

// ask asks what would happen, and that asking changed nothing.
func (d *desk) ask(docs string, drain ...string) *plan.Status {
	d.t.Helper()
	q := whatif.Question{Drain: drain}
	if docs != "" {
		other := looptest.New(d.t, append(tables.All(), tables.Samples()...))
		other.Put(docs)
		for _, t := range tables.All() {
			for row := range t.Rows(other.Store.Snapshot(), "") {
				o := row.Object().DeepCopyObject().(store.Object)
				o.SetUID("")
				q.Put = append(q.Put, whatif.Put{Table: t, Key: row.Key(), Object: o})
			}
		}
	}
	before := d.Store.Snapshot().Rev()
	st, err := whatif.New(whatif.Config{Store: d.Store, Loops: loops, Now: d.Now}).Answer(d.t.Context(), q)
	if err != nil {
		d.t.Fatal(err)
	}
	if after := d.Store.Snapshot().Rev(); after != before {
		d.t.Errorf("asking wrote: revision %d, was %d", after, before)
	}
	return st
}

// text is an answer in lines, without names that are made up.
func text(st *plan.Status) string {
	var b strings.Builder
	counts := map[string]int{}
	for _, p := range st.Pods {
		counts[p.Of.String()+" -> "+p.Node+p.Why]++
	}
	for _, p := range st.Preempted {
		counts["preempted "+p.Of.String()+" on "+p.Node]++
	}
	for _, p := range st.Replaced {
		counts[fmt.Sprintf("goes %s on %s lost=%v", p.Of, p.Node, p.Lost)]++
	}
	for _, p := range st.Blocked {
		counts["blocked "+p.Of.String()+" on "+p.Node+" by "+p.Budget]++
	}
	for _, p := range st.Refused {
		counts["refused "+p.Why]++
	}
	var lines []string
	for l, n := range counts {
		lines = append(lines, fmt.Sprintf("%d %s", n, l))
	}
	slices.Sort(lines)
	fmt.Fprintf(&b, "fits=%v kept=%d\n", st.Fits, st.Kept)
	for _, l := range lines {
		fmt.Fprintln(&b, l)
	}
	return b.String()
}

func node(name, cpu string) string {
	return fmt.Sprintf(`
---
{apiVersion: v1, kind: Node, metadata: {name: %s, labels: {kubernetes.io/hostname: %[1]s}}, status: {allocatable: {cpu: %q, memory: 8Gi, pods: "20"}, conditions: [{type: Ready, status: "True"}]}}
`, name, cpu)
}

func workload(kind, name string, replicas int, cpu, more string) string {
	service := ""
	if kind == "StatefulSet" {
		service = "serviceName: " + name
	}
	return fmt.Sprintf(`
---
apiVersion: apps/v1
kind: %s
metadata: {namespace: default, name: %s, generation: 1}
spec:
  replicas: %d
  %[6]s
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec:
      schedulerName: default-scheduler
      restartPolicy: Always
      %[5]s
      containers: [{name: c, image: i, resources: {requests: {cpu: %[4]q}}}]
`, kind, name, replicas, cpu, more, service)
}

const space = `
---
{apiVersion: v1, kind: Namespace, metadata: {name: default}}
`

func TestAnswers(t *testing.T) {
	budget := `
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {namespace: default, name: all, generation: 1}, spec: {minAvailable: %d, selector: {matchLabels: {app: old}}}}
`
	low := workload("Deployment", "old", 4, "1", "priority: 0")
	for name, c := range map[string]struct {
		there, docs string
		drain       []string
		want        string
	}{
		"what fits goes, what does not stays": {
			there: space + node("a", "2") + node("b", "1"), docs: workload("Deployment", "web", 4, "1", "priority: 0"),
			want: "fits=false kept=0\n1 Deployment web -> 0/2 nodes are available: 2 Insufficient cpu.\n1 Deployment web -> b\n2 Deployment web -> a\n",
		},
		"a stateful set comes one by one": {
			there: space + node("a", "3"), docs: workload("StatefulSet", "db", 3, "1", "priority: 0"),
			want: "fits=true kept=0\n3 StatefulSet db -> a\n",
		},
		"the more important preempts": {
			there: space + node("a", "2") + node("b", "2") + low, docs: workload("Deployment", "new", 1, "2", "priority: 10"),
			want: "fits=true kept=0\n1 Deployment new -> a\n2 preempted Deployment old on a\n",
		},
		"what is there already is scaled": {
			there: space + node("a", "4") + node("b", "4") + low, docs: workload("Deployment", "old", 6, "1", "priority: 0"),
			want: "fits=true kept=4\n1 Deployment old -> a\n1 Deployment old -> b\n",
		},
		"what is there already is rolled out": {
			there: space + node("a", "4") + node("b", "4") + low, docs: workload("Deployment", "old", 4, "2", "priority: 0"),
			want: "fits=true kept=0\n2 Deployment old -> a\n2 Deployment old -> b\n2 goes Deployment old on a lost=false\n2 goes Deployment old on b lost=false\n",
		},
		"a node is drained": {
			there: space + node("a", "2") + node("b", "4") + low, drain: []string{"a"},
			want: "fits=true kept=0\n2 Deployment old -> b\n2 goes Deployment old on a lost=false\n",
		},
		"a budget has it go one by one": {
			there: space + node("a", "2") + node("b", "2") + node("c", "2") + low + fmt.Sprintf(budget, 3), drain: []string{"a", "b"},
			want: "fits=false kept=0\n1 Deployment old -> 0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.\n1 Deployment old -> c\n1 blocked Deployment old on b by all\n2 goes Deployment old on a lost=false\n",
		},
		"a budget forbids it": {
			there: space + node("a", "4") + node("b", "4") + low + fmt.Sprintf(budget, 4), drain: []string{"a"},
			want: "fits=false kept=0\n2 blocked Deployment old on a by all\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := text(newDesk(t, c.there).ask(c.docs, c.drain...))
			if got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

// TestSameAsTheLoops: what is planned is what comes when it is done.
func TestSameAsTheLoops(t *testing.T) {
	docs := workload("Deployment", "web", 7, "700m", "priority: 0") + workload("StatefulSet", "db", 3, "1500m", "priority: 0")
	d := newDesk(t, space+node("a", "4")+node("b", "3")+node("c", "2")+workload("Deployment", "old", 3, "300m", "priority: 0"))
	planned := map[string]int{}
	for _, p := range d.ask(docs).Pods {
		planned[p.Of.String()+p.Node]++
	}
	d.Put(docs)
	for range 4 {
		d.rest()
	}
	came := map[string]int{}
	for p := range tables.Pods.All(d.Store.Snapshot()) {
		if app := p.Labels["app"]; app != "old" {
			came[map[string]string{"web": "Deployment web", "db": "StatefulSet db"}[app]+p.Spec.NodeName]++
		}
	}
	if fmt.Sprint(planned) != fmt.Sprint(came) {
		t.Errorf("planned %v, came %v", planned, came)
	}
	if _, ok := tables.Nodes.Get(d.Store.Snapshot(), object.Key{Name: "a"}); !ok {
		t.Error("node a is gone")
	}
}
