package schedule

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// companyCases are pods about pods in the manner of Kubernetes' scheduler_perf.
var companyCases = map[string]func(p *corev1.Pod){
	"anti": func(p *corev1.Pod) {
		p.Labels = map[string]string{"color": "green"}
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{about("green", corev1.LabelHostname)}}}
	},
	"affinity": func(p *corev1.Pod) {
		p.Labels = map[string]string{"color": "blue"}
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{about("blue", "zone")}}}
	},
	"preferred": func(p *corev1.Pod) {
		p.Labels = map[string]string{"color": "red"}
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: about("red", corev1.LabelHostname)}}}}
	},
	"preferredanti": func(p *corev1.Pod) {
		p.Labels = map[string]string{"color": "red"}
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: about("red", corev1.LabelHostname)}}}}
	},
	"spread": func(p *corev1.Pod) {
		p.Labels = map[string]string{"color": "blue"}
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{even("blue", "zone", corev1.DoNotSchedule)}
	},
	"spreadhosts": func(p *corev1.Pod) {
		p.Labels = map[string]string{"color": "blue"}
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{even("blue", corev1.LabelHostname, corev1.DoNotSchedule), even("blue", "zone", corev1.ScheduleAnyway)}
	},
}

func about(color, key string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"color": color}}, Namespaces: []string{"default", "eng"}}
}

func even(color, key string, what corev1.UnsatisfiableConstraintAction) corev1.TopologySpreadConstraint {
	return corev1.TopologySpreadConstraint{MaxSkew: 5, TopologyKey: key, WhenUnsatisfiable: what, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"color": color}}}
}

// BenchmarkCompany places 4,000 pods that ask of each other on 5,000 nodes: of one template, and each of a template of its own.
func BenchmarkCompany(b *testing.B) {
	for name, set := range companyCases {
		for _, distinct := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/distinct=%v", name, distinct), func(b *testing.B) { benchCompany(b, set, distinct) })
		}
	}
}

func benchCompany(b *testing.B, set func(*corev1.Pod), distinct bool) {
	const nodes, pods = 5000, 4000
	r := newStore(b).Snapshot()
	for b.Loop() {
		b.StopTimer()
		c, classes := newCell(nil), map[uint64]*class{}
		for i := range nodes {
			n := testNode(fmt.Sprintf("n%04d", i), "4", 110)
			n.Labels = map[string]string{corev1.LabelHostname: n.Name, "zone": fmt.Sprint("z", i%3)}
			c.setNode(n.Name, n)
		}
		place := func(i int, plain bool) {
			p := testPod(fmt.Sprintf("p%05d", i), "10m", "rs")
			if p.OwnerReferences = nil; !plain {
				set(p)
			}
			if distinct {
				p.Spec.Tolerations = []corev1.Toleration{{Key: fmt.Sprint("t", i)}}
			}
			p.UID = types.UID(p.Name)
			if c.near.Expect(p); c.settleCompany() {
				clear(classes)
			}
			key := c.keyOf(p)
			cl := classes[key]
			if cl == nil {
				if len(classes) > classesMax {
					clear(classes)
					c.near.Sweep(c.everyPod())
				}
				cl = newClass(r, p, c)
				classes[key] = cl
			}
			n := cl.best(c)
			if n == nil {
				b.Fatalf("pod %d has no node: %s", i, cl.why)
			}
			c.take(n, useOf(cl, p))
		}
		for i := range 1000 {
			place(i, false)
		}
		b.StartTimer()
		for i := range pods {
			place(1000+i, false)
		}
	}
	b.ReportMetric(float64(pods*b.N)/b.Elapsed().Seconds(), "pods/s")
}
