package schedule

import (
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// company has a template ask for others, and be asked for.
func (w *world) company(p *corev1.Pod) {
	p.Labels = map[string]string{"app": w.one("a", "b"), "tier": w.one("x", "y")}
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	terms := func(of int) (out []corev1.PodAffinityTerm) {
		for range max(0, w.rng.IntN(of)-of+2) {
			out = append(out, w.podTerm())
		}
		return out
	}
	weigh := func(list []corev1.PodAffinityTerm) (out []corev1.WeightedPodAffinityTerm) {
		for _, t := range list {
			out = append(out, corev1.WeightedPodAffinityTerm{Weight: int32(1 + w.rng.IntN(100)), PodAffinityTerm: t})
		}
		return out
	}
	p.Spec.Affinity.PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms(6), PreferredDuringSchedulingIgnoredDuringExecution: weigh(terms(4))}
	p.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms(6), PreferredDuringSchedulingIgnoredDuringExecution: weigh(terms(4))}
	for range max(0, w.rng.IntN(6)-3) {
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, w.spread())
	}
}

func (w *world) podTerm() corev1.PodAffinityTerm {
	t := corev1.PodAffinityTerm{
		TopologyKey:   w.one(corev1.LabelHostname, "zone", "disk", "rank"),
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{w.one("app", "tier"): w.one("a", "b", "x", "y")}},
	}
	switch w.rng.IntN(5) {
	case 0:
		t.Namespaces = []string{"default", "eng"}
	case 1:
		t.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "one"}}
	case 2:
		t.MatchLabelKeys = []string{"tier"}
	}
	return t
}

func (w *world) spread() corev1.TopologySpreadConstraint {
	t := corev1.TopologySpreadConstraint{
		MaxSkew: int32(1 + w.rng.IntN(2)), TopologyKey: w.one(corev1.LabelHostname, "zone", "disk"), WhenUnsatisfiable: corev1.UnsatisfiableConstraintAction(w.one("DoNotSchedule", "ScheduleAnyway")),
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": w.one("a", "b")}},
	}
	if w.rng.IntN(3) == 0 {
		domains := int32(1 + w.rng.IntN(4))
		t.MinDomains = &domains
	}
	policies := []*corev1.NodeInclusionPolicy{nil, new(corev1.NodeInclusionPolicy), new(corev1.NodeInclusionPolicy)}
	*policies[1], *policies[2] = corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore
	t.NodeAffinityPolicy, t.NodeTaintsPolicy = pick(w.rng, policies), pick(w.rng, policies)
	return t
}

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

// relabel gives a namespace other labels.
func (w *world) relabel() {
	w.cell.near.SetNamespace(w.one("default", "eng"), map[string]string{"team": w.one("one", "two")})
	w.cell.told(w.anyNode())
}
