package schedule

import (
	"fmt"
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// withNodes is an engine with so many nodes, each with a label of its own.
func withNodes(t *testing.T, nodes int) *Engine {
	e := NewEngine(newStore(t).Snapshot())
	for i := range nodes {
		n := testNode(fmt.Sprintf("n%04d", i), "64", 1000)
		n.Labels = map[string]string{corev1.LabelHostname: n.Name, "zone": fmt.Sprint("z", i%3), "serial": fmt.Sprint("s", i)}
		e.SetNode(n)
	}
	return e
}

// TestHostileSpecs places pods that are made to be slow. The time that they may take is many times what they do, and far less than what it would be if
// they were read for each pod and node.
func TestHostileSpecs(t *testing.T) {
	const pods, limit = 300, 10 * time.Second
	var values []string
	for i := range 200 {
		values = append(values, fmt.Sprint("value-", i))
	}
	for name, set := range map[string]func(i int, p *corev1.Pod){
		"long selectors": func(_ int, p *corev1.Pod) {
			var terms []corev1.NodeSelectorRequirement
			for i := range 200 {
				terms = append(terms, corev1.NodeSelectorRequirement{Key: fmt.Sprint("key-", i%5), Operator: corev1.NodeSelectorOpNotIn, Values: values})
			}
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: terms}},
			}}}
		},
		"a domain for each node": func(_ int, p *corev1.Pod) {
			for _, key := range []string{"serial", corev1.LabelHostname} {
				p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, even("x", key, corev1.DoNotSchedule))
			}
			p.Labels = map[string]string{"color": "x"}
		},
		"a selector for each pod": func(i int, p *corev1.Pod) {
			p.Labels = map[string]string{"color": fmt.Sprint("c", i)}
			var list []corev1.PodAffinityTerm
			for j := range 10 {
				list = append(list, corev1.PodAffinityTerm{TopologyKey: "serial", LabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "color", Operator: metav1.LabelSelectorOpNotIn, Values: values}, {Key: fmt.Sprint("absent-", i, "-", j), Operator: metav1.LabelSelectorOpExists},
				}}})
			}
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: list}}
		},
		"a key for each pod": func(i int, p *corev1.Pod) {
			p.Labels = map[string]string{"color": "y"}
			c := even("y", fmt.Sprint("absent-", i), corev1.ScheduleAnyway)
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{c}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, start := withNodes(t, 500), time.Now()
			for i := range pods {
				p := testPod(fmt.Sprintf("p%04d", i), "10m", "")
				p.OwnerReferences = nil
				set(i, p)
				if on, why := e.Place(p); on == "" {
					t.Fatalf("%s has no node: %s", p.Name, why)
				}
			}
			if took := time.Since(start); took > limit {
				t.Errorf("%d pods took %v", pods, took)
			}
		})
	}
}

// TestPrioritiesAtTheirLimits: the highest takes the place of the lowest, whatever their sums are, and the lowest nobody's.
func TestPrioritiesAtTheirLimits(t *testing.T) {
	c := newCrowd(t, 0)
	pod := func(name, cpu string, priority int32, node string) *corev1.Pod {
		p := testPod(name, cpu, "")
		p.OwnerReferences, p.Spec.Priority, p.Spec.NodeName = nil, &priority, node
		return p
	}
	update(t, c.s, func(tx *store.Tx) {
		for _, name := range []string{"a", "b"} {
			tables.Nodes.Put(tx, testNode(name, "4", 1000))
		}
		tables.Pods.Put(tx, pod("high", "4", math.MaxInt32-1, "a"))
		for i := range 400 {
			tables.Pods.Put(tx, pod(fmt.Sprintf("low-%03d", i), "10m", math.MinInt32, "b"))
		}
	})
	c.settle()
	update(t, c.s, func(tx *store.Tx) {
		tables.Pods.Put(tx, pod("highest", "4", math.MaxInt32, ""))
		tables.Pods.Put(tx, pod("lowest", "4", math.MinInt32, ""))
	})
	c.settle()
	get := func(name string) *corev1.Pod {
		p, ok := tables.Pods.Get(c.s.Head(), object.Key{Namespace: "default", Name: name})
		if !ok {
			t.Fatalf("%s is gone", name)
		}
		return p
	}
	if p := get("high"); p.DeletionTimestamp != nil {
		t.Error("a pod of nearly the highest priority had to leave, though four hundred of the lowest could")
	}
	if p := get("highest"); p.Spec.NodeName+p.Status.NominatedNodeName != "b" {
		t.Errorf("the highest is on %q and waits for %q", p.Spec.NodeName, p.Status.NominatedNodeName)
	}
	if p := get("lowest"); p.Spec.NodeName+p.Status.NominatedNodeName != "" {
		t.Error("the lowest took a place")
	}
}
