package schedule

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestHints: who waits is told what would change that, and that it would is true.
func TestHints(t *testing.T) {
	set := func(f func(p *corev1.Pod)) *corev1.Pod {
		p := testPod("waits", "2", "")
		p.OwnerReferences = nil
		f(p)
		return p
	}
	for _, c := range []struct {
		name, want string
		pod        *corev1.Pod
		cure       func(nodes map[string]*corev1.Node)
	}{
		{"room", "It would run with 500m more cpu on small.", set(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("1500m")
		}), func(nodes map[string]*corev1.Node) {
			nodes["small"].Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("1500m")
		}},
		{"room or row", "It would run with 1 more cpu on small, or without taint dedicated=db:NoSchedule on tainted.", set(func(*corev1.Pod) {}), func(nodes map[string]*corev1.Node) {
			nodes["tainted"].Spec.Taints = nil
		}},
		{"more memory", "It would run with 1 more cpu and 6Gi more memory on small.", set(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests[corev1.ResourceMemory] = resource.MustParse("70Gi")
		}), func(nodes map[string]*corev1.Node) {
			nodes["small"].Status.Allocatable[corev1.ResourceCPU], nodes["small"].Status.Allocatable[corev1.ResourceMemory] = resource.MustParse("2"), resource.MustParse("70Gi")
		}},
		{"label", "It would run with label disk=ssd on zoned.", set(func(p *corev1.Pod) {
			p.Spec.NodeSelector = map[string]string{"zone": "a", "disk": "ssd"}
		}), func(nodes map[string]*corev1.Node) { nodes["zoned"].Labels["disk"] = "ssd" }},
		{"uncordon", "It would run with zoned uncordoned.", set(func(p *corev1.Pod) {
			p.Spec.NodeSelector = map[string]string{"zone": "a"}
		}), func(nodes map[string]*corev1.Node) { nodes["zoned"].Spec.Unschedulable = false }},
		{"affinity", "It would run with label rack=7 on zoned.", set(func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
				{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}}, {Key: "rack", Operator: corev1.NodeSelectorOpIn, Values: []string{"7", "8"}}}},
			}}}}
		}), func(nodes map[string]*corev1.Node) { nodes["zoned"].Labels["rack"] = "7" }},
		{"nothing", "", set(func(p *corev1.Pod) {
			p.Spec.NodeSelector = map[string]string{"a": "1", "b": "2", "c": "3"}
		}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := map[string]*corev1.Node{"small": testNode("small", "1", 110), "tainted": testNode("tainted", "8", 110), "zoned": testNode("zoned", "8", 110)}
			nodes["tainted"].Spec.Taints = []corev1.Taint{{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule}}
			nodes["zoned"].Labels = map[string]string{"zone": "a"}
			switch c.name {
			case "room", "room or row", "more memory":
				nodes["zoned"].Spec.Taints = []corev1.Taint{{Key: "x"}, {Key: "y"}, {Key: "z"}}
			case "uncordon":
				nodes["zoned"].Spec.Unschedulable = true
			}
			if c.name == "room" {
				now := metav1.Unix(1, 0)
				nodes["tainted"].DeletionTimestamp = &now
			}
			s := newStore(t)
			put := func() {
				update(t, s, func(tx *store.Tx) {
					for _, n := range nodes {
						tables.Nodes.Put(tx, n.DeepCopy())
					}
				})
			}
			put()
			if _, got := Explain(s.Snapshot(), c.pod); got != c.want {
				t.Errorf("hint %q, want %q", got, c.want)
			}
			if c.cure == nil {
				return
			}
			c.cure(nodes)
			put()
			reasons, _ := Explain(s.Snapshot(), c.pod)
			var all []string
			for _, r := range reasons {
				if len(r.Reasons) == 0 {
					return
				}
				all = append(all, r.Node+": "+strings.Join(r.Reasons, ", "))
			}
			t.Errorf("the hint was followed, and it does not run: %s", strings.Join(all, "; "))
		})
	}
}
