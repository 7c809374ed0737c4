package schedule

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/swarm"
	"trireme/internal/schedule/profile"
	"trireme/internal/store"
)

// TestAgrees puts random cells and random pods before the engine that is fast and before the rules, asked of each node
// in turn: they must agree whether there is a node, which is the best, and why there is none.
func TestAgrees(t *testing.T) {
	cells, steps := 500, 200
	if testing.Short() {
		cells = 25
	}
	r := newStore(t).Snapshot()
	found := 0
	for seed := range uint64(cells) {
		w := newWorld(r, seed)
		for step := range steps {
			w.disturb()
			p := w.pod()
			if n := w.ask(t, p); n != nil {
				found++
				if w.rng.IntN(8) > 0 {
					w.cell.take(n, useOf(w.classes[w.cell.keyOf(p)], p))
				}
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d, pod %s", seed, step, p.Name)
			}
		}
	}
	if asked := cells * steps; found < asked/4 || found > asked*19/20 {
		t.Errorf("%d of %d found a node: the cells are not what they should be", found, asked)
	}
}

// testProfiles are one of each strategy, with and without resources of their own.
var testProfiles = []profile.Profile{
	profile.Default(),
	{Name: "most", Strategy: profile.Most, Weights: profile.Weights{Room: 1, Nodes: 2, Taints: 3, Spread: 2, Company: 2}},
	{
		Name: "spread-most", Strategy: profile.Most, Owners: true, Weights: profile.Weights{Room: 50, Nodes: 1, Spread: 1}, Resources: []profile.Resource{{Name: corev1.ResourceMemory, Weight: 2}, {Name: "example.com/gpu", Weight: 9}},
		Added: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution:  &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"c"}}}}}},
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 7, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: corev1.NodeSelectorOpExists}}}}},
		},
	},
	{
		Name: "half", Strategy: profile.Ratio, Weights: profile.Weights{Room: 1, Nodes: 2, Taints: 3, Spread: 2, Company: 2}, Shape: []profile.Point{{Used: 0.1, Worth: 0.2}, {Used: 0.5, Worth: 1}, {Used: 1, Worth: 0}},
		Resources: []profile.Resource{{Name: corev1.ResourceCPU, Weight: 1}, {Name: corev1.ResourceMemory, Weight: 1}},
	},
	{Name: "least-pods", Weights: profile.Weights{Room: 3, Nodes: 2, Taints: 0, Spread: 2, Company: 100}, Owners: true, Resources: []profile.Resource{{Name: corev1.ResourceEphemeralStorage, Weight: 1}, {Name: corev1.ResourcePods, Weight: 1}}},
}

// world is a random cell and the pods that come to it.
type world struct {
	rng       *rand.Rand
	r         store.Reader
	cell      *cell
	classes   map[uint64]*class
	templates []*corev1.Pod
	nodes     int
	pods      int
	social    bool // pods ask of each other
}

func newWorld(r store.Reader, seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 7)), r: r, cell: newCell(testProfiles), classes: map[uint64]*class{}}
	w.social = seed%2 == 1
	w.nodes = 2 + w.rng.IntN(20)
	for i := range w.nodes {
		w.setNode(i)
	}
	for range 12 {
		w.templates = append(w.templates, w.template())
	}
	return w
}

// ask asks both, and returns the node.
func (w *world) ask(t *testing.T, p *corev1.Pod) *node {
	if w.cell.near.Expect(p); w.cell.settleCompany() {
		w.classes = map[uint64]*class{}
	}
	cl := w.classes[w.cell.keyOf(p)]
	if cl == nil {
		cl = newClass(w.r, p, w.cell)
		w.classes[w.cell.keyOf(p)] = cl
	}
	told := cl.stuck(w.cell) // why is said once
	got := cl.best(w.cell)
	plain := newClass(w.r, p, w.cell)
	var want *node
	var points int64
	refusals, all := map[string]int{}, 0
	for _, n := range w.cell.nodes {
		if n.row == nil {
			continue
		}
		all++
		why := []string{otherNode}
		if plain.asks(n) {
			why = plain.refusals(n)
		}
		for _, reason := range why {
			refusals[reason]++
		}
		if len(why) > 0 {
			continue
		}
		if s := plain.score(n); want == nil || s > points || s == points && n.name < want.name {
			want, points = n, s
		}
	}
	if got != want {
		t.Errorf("fast: %s, plain: %s", w.said(plain, got), w.said(plain, want))
	}
	if want == nil && !told {
		var parts []string
		for reason, n := range refusals {
			parts = append(parts, fmt.Sprintf("%d %s", n, reason))
		}
		slices.Sort(parts)
		if why := fmt.Sprintf("0/%d nodes are available: %s.", all, strings.Join(parts, ", ")); all > 0 && cl.why != why {
			t.Errorf("fast: %s\nplain: %s", cl.why, why)
		}
	}
	return got
}

func (w *world) said(cl *class, n *node) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprintf("%s with %d points, refusing %v", n.name, cl.score(n), cl.refusals(n))
}

func (w *world) one(of ...string) string { return of[w.rng.IntN(len(of))] }

func (w *world) setNode(i int) {
	n := testNode(fmt.Sprintf("n%02d", i), w.one("0", "1", "2", "4", "8", "64"), int64(w.rng.IntN(12)))
	n.Status.Allocatable[corev1.ResourceMemory] = resource.MustParse(w.one("1Gi", "2Gi", "8Gi", "9223372036854775807"))
	n.Status.Allocatable[corev1.ResourceEphemeralStorage] = resource.MustParse(w.one("1Gi", "100Gi"))
	n.Labels = map[string]string{corev1.LabelHostname: n.Name, "zone": w.one("a", "b", "c"), "disk": w.one("ssd", "hdd"), "rank": fmt.Sprint(w.rng.IntN(5))}
	if w.rng.IntN(3) == 0 {
		n.Status.Allocatable["example.com/gpu"] = *resource.NewQuantity(int64(w.rng.IntN(5)), resource.DecimalSI)
	}
	for range w.rng.IntN(3) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{
			Key: w.one("dedicated", "slow"), Value: w.one("x", "y"), Effect: corev1.TaintEffect(w.one("NoSchedule", "PreferNoSchedule", "NoExecute")),
		})
	}
	n.Spec.Unschedulable = w.rng.IntN(12) == 0
	if w.rng.IntN(12) == 0 {
		n.Status.Conditions[0].Status = corev1.ConditionFalse
	}
	if w.rng.IntN(20) == 0 {
		now := metav1.Unix(1_900_000_000, 0)
		n.DeletionTimestamp = &now
	}
	w.cell.setNode(n.Name, n)
}

// disturb changes the cell as the tables would.
func (w *world) disturb() {
	c, n := w.cell, w.anyNode()
	switch w.rng.IntN(14) {
	case 0:
		w.setNode(w.rng.IntN(w.nodes))
	case 1:
		if n != nil {
			c.setNode(n.name, nil)
		}
	case 2, 3, 4, 5:
		for _, key := range w.sortedUses() {
			if w.rng.IntN(6) == 0 {
				c.release(key)
			}
		}
	case 6:
		for _, key := range w.sortedUses() {
			if w.rng.IntN(10) == 0 {
				c.leave(c.uses[key])
			}
		}
	case 7:
		if n != nil {
			p := w.pod()
			p.Status.NominatedNodeName = n.name
			c.nominate(p)
		}
	case 8:
		for _, key := range slices.SortedFunc(maps.Keys(c.nominated), object.Key.Compare) {
			c.improve(c.unnominate(key))
		}
	case 9:
		if n != nil {
			n.kept = []kept{{w.one("", "default", "eng"), object.Demand{CPUMilli: int64(w.rng.IntN(3000))}}}[:w.rng.IntN(2)]
			c.improve(n)
		}
	case 10:
		if n != nil {
			n.lent = []*lent{{node: n, demand: object.Demand{MemoryBytes: int64(w.rng.IntN(1 << 30))}, open: w.rng.IntN(3) == 0}}[:w.rng.IntN(2)]
			c.improve(n)
		}
	case 11:
		for _, key := range w.sortedUses() {
			if w.rng.IntN(10) == 0 {
				c.resize(c.uses[key], object.Demand{CPUMilli: int64(w.rng.IntN(1000))})
			}
		}
	case 12:
		w.templates[w.rng.IntN(len(w.templates))] = w.template()
	case 13:
		if w.social && n != nil {
			w.relabel()
		}
	}
}

func (w *world) anyNode() *node {
	var list []*node
	for _, name := range slices.Sorted(maps.Keys(w.cell.nodes)) {
		list = append(list, w.cell.nodes[name])
	}
	if len(list) == 0 {
		return nil
	}
	return list[w.rng.IntN(len(list))]
}

func (w *world) sortedUses() []object.Key {
	return slices.SortedFunc(maps.Keys(w.cell.uses), object.Key.Compare)
}

// pod makes a pod of one of the templates.
func (w *world) pod() *corev1.Pod {
	p := w.templates[w.rng.IntN(len(w.templates))].DeepCopy()
	w.pods++
	p.Name, p.UID = fmt.Sprintf("p%04d", w.pods), types.UID(fmt.Sprint(w.pods))
	return p
}

func (w *world) template() *corev1.Pod {
	p := testPod("", w.one("0", "1m", "100m", "1", "2", "3"), types.UID(w.one("rs1", "rs2", "rs3")))
	if w.rng.IntN(4) == 0 {
		p.OwnerReferences = nil
	}
	p.Namespace = w.one("default", "eng")
	p.Spec.SchedulerName = pick(w.rng, testProfiles).Name
	priority := []int32{math.MinInt32, -1, 0, 0, 0, 1, math.MaxInt32}[w.rng.IntN(7)]
	p.Spec.Priority = &priority
	asks := p.Spec.Containers[0].Resources.Requests
	if w.rng.IntN(2) == 0 {
		asks[corev1.ResourceMemory] = resource.MustParse(w.one("0", "1", "200Mi", "1Gi", "9223372036854775807"))
	}
	if w.rng.IntN(6) == 0 {
		asks[corev1.ResourceEphemeralStorage] = resource.MustParse(w.one("500Mi", "2Gi"))
	}
	if w.rng.IntN(6) == 0 {
		asks["example.com/gpu"] = resource.MustParse(w.one("1", "2"))
	}
	if w.rng.IntN(4) == 0 {
		p.Spec.NodeSelector = map[string]string{w.one("zone", "disk"): w.one("a", "b", "ssd", "hdd")}
	}
	if w.rng.IntN(3) == 0 {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: w.affinity()}
	}
	for range w.rng.IntN(3) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{
			Key: w.one("dedicated", "slow", corev1.TaintNodeUnschedulable, corev1.TaintNodeNotReady), Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffect(w.one("", "NoSchedule", "PreferNoSchedule")),
		})
	}
	if w.rng.IntN(6) == 0 {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: int32(80 + w.rng.IntN(2)), HostIP: w.one("", "10.0.0.1"), Protocol: corev1.ProtocolTCP}}
	}
	annotations := map[string]string{}
	if w.rng.IntN(6) == 0 {
		annotations[swarm.PlacementAnnotation] = w.one(`{"constraints":["node.labels.disk==ssd"]}`, `{"maxPerNode":1}`, `{"constraints":["node.labels.zone!=a"],"maxPerNode":2}`, `{"constraints":["x"]}`)
	}
	if w.rng.IntN(8) == 0 {
		annotations[object.DynamicPortsAnnotation] = `[{"name":"a"},{"name":"b"}]`
	}
	p.Annotations = annotations
	if w.social && w.rng.IntN(3) > 0 {
		w.company(p)
	}
	return p
}

func (w *world) affinity() *corev1.NodeAffinity {
	a := &corev1.NodeAffinity{}
	term := func() corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: w.one("zone", "disk"), Operator: corev1.NodeSelectorOperator(w.one("In", "NotIn")), Values: []string{w.one("a", "b", "ssd"), w.one("c", "hdd")},
		}}}
	}
	switch w.rng.IntN(4) {
	case 0:
		a.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term(), term()}}
	case 1:
		a.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{fmt.Sprintf("n%02d", w.rng.IntN(w.nodes))}}},
		}}}
	case 2:
		a.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "rank", Operator: corev1.NodeSelectorOperator(w.one("Gt", "Lt")), Values: []string{fmt.Sprint(w.rng.IntN(5))}}},
		}}}
	}
	for range w.rng.IntN(3) {
		a.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PreferredDuringSchedulingIgnoredDuringExecution, corev1.PreferredSchedulingTerm{Weight: int32(1 + w.rng.IntN(100)), Preference: term()})
	}
	return a
}
