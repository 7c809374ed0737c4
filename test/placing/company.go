package placing

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// companyCases are pods that ask of each other, as in scheduler_perf: 1,000 of the kind have a node before.
func companyCases() []Case {
	of := func(name string, pods int, set func(*corev1.Pod)) Case {
		kind := func(make func(int) *corev1.Pod) func(int) *corev1.Pod {
			return func(i int) *corev1.Pod {
				p := make(i)
				set(p)
				return p
			}
		}
		had := func(i int) *corev1.Pod {
			p := HeldPod(i)
			p.OwnerReferences = nil
			return p
		}
		return Case{Name: name, Nodes: 5000, Held: 1000, Pods: pods, Had: kind(had), Pod: kind(barePod)}
	}
	return []Case{
		of("engine_5k_antiaffinity_per_s", 4000, func(p *corev1.Pod) {
			p.Labels = map[string]string{"color": "green"}
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{colored("green", corev1.LabelHostname)}}}
		}),
		of("engine_5k_affinity_per_s", 5000, func(p *corev1.Pod) {
			p.Labels = map[string]string{"color": "blue"}
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{colored("blue", corev1.LabelTopologyZone)}}}
		}),
		of("engine_5k_preferred_per_s", 5000, func(p *corev1.Pod) {
			p.Labels = map[string]string{"color": "red"}
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
				{Weight: 1, PodAffinityTerm: colored("red", corev1.LabelHostname)},
			}}}
		}),
		of("engine_5k_spread_per_s", 5000, func(p *corev1.Pod) {
			p.Labels = map[string]string{"color": "blue"}
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
				MaxSkew: 5, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"color": "blue"}},
			}}
		}),
	}
}

func colored(color, key string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"color": color}}, Namespaces: []string{"default", "other"}}
}
