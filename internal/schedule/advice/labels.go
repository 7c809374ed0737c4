// Package advice finds what of a node would have to be another for a pod to be let in. It is pure; whether it is so the scheduler's own
// filters say.
//
// How to debug: `trireme why POD`; TestHint of the scheduler.
package advice

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// termsMax is how many terms of a node affinity are looked at.
const termsMax = 16

// Labels returns the labels that the node would have to have, and has not, to be one that the pod demands, at most so many; nil: labels
// alone would not do. demands says whether the pod demands a node such as that.
func Labels(p *corev1.Pod, row *corev1.Node, most int, demands func(*corev1.Node) bool) map[string]string {
	terms := []corev1.NodeSelectorTerm{{}}
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		terms = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	for _, t := range terms[:min(len(terms), termsMax)] {
		more := map[string]string{}
		add := func(k, v string) {
			if have, ok := row.Labels[k]; !ok || have != v {
				more[k] = v
			}
		}
		for _, e := range t.MatchExpressions {
			if e.Operator == corev1.NodeSelectorOpIn && len(e.Values) > 0 && !slices.Contains(e.Values, row.Labels[e.Key]) {
				add(e.Key, e.Values[0])
			}
		}
		for k, v := range p.Spec.NodeSelector {
			add(k, v)
		}
		if len(more) == 0 || len(more) > most {
			continue
		}
		next := *row
		next.Labels = maps.Clone(row.Labels)
		if next.Labels == nil {
			next.Labels = map[string]string{}
		}
		maps.Copy(next.Labels, more)
		if demands(&next) {
			return more
		}
	}
	return nil
}
