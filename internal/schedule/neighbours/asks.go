package neighbours

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
)

// Asks is what a pod asks of the pods around it, by its terms of affinity and anti-affinity.
type Asks struct {
	together []term // all of which the pods of each term's domain are to match
	apart    []term
	wishes   []wish
	bonds    []*bond // what its terms say to others, one for each term
	mark     uint64
}

type term struct {
	part part
	key  string
}

type wish struct {
	term
	weight int64
}

// hardWeight is how much a pod that demands others draws them (Kubernetes, InterPodAffinityArgs,
// hardPodAffinityWeight).
const hardWeight = 1

// Expect takes note of a pod that will be asked for. It may make the Index stale, which a View of the pod does not after that.
func (x *Index) Expect(p *corev1.Pod) {
	x.Read(p)
	for i := range p.Spec.TopologySpreadConstraints {
		t := &p.Spec.TopologySpreadConstraints[i]
		if t.LabelSelector != nil {
			for k := range t.LabelSelector.MatchLabels {
				x.mention(k)
			}
			for j := range t.LabelSelector.MatchExpressions {
				x.mention(t.LabelSelector.MatchExpressions[j].Key)
			}
		}
		for _, k := range t.MatchLabelKeys {
			x.mention(k)
		}
		x.wake()
	}
}

// Read returns what the pod asks; nil: nothing. Pods that ask the same get the same.
func (x *Index) Read(p *corev1.Pod) *Asks {
	if !object.AsksOfPods(p) {
		return nil
	}
	text := asksText(p)
	if a := x.asks[text]; a != nil {
		return a
	}
	a := &Asks{}
	if t := p.Spec.Affinity.PodAffinity; t != nil {
		a.together = terms(p, t.RequiredDuringSchedulingIgnoredDuringExecution)
		a.wish(p, t.PreferredDuringSchedulingIgnoredDuringExecution, 1)
	}
	if t := p.Spec.Affinity.PodAntiAffinity; t != nil {
		a.apart = terms(p, t.RequiredDuringSchedulingIgnoredDuringExecution)
		a.wish(p, t.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
	for _, t := range a.apart {
		a.bonds = append(a.bonds, x.bond(x.match(t.part), x.key(t.key), 0))
	}
	for _, t := range a.together {
		a.bonds = append(a.bonds, x.bond(x.match(t.part), x.key(t.key), hardWeight))
	}
	for _, w := range a.wishes {
		if w.weight != 0 {
			a.bonds = append(a.bonds, x.bond(x.match(w.part), x.key(w.key), w.weight))
		}
	}
	a.mark = x.swept
	x.asks[text] = a
	x.size++
	return a
}

// asksText is the same for pods that ask the same.
func asksText(p *corev1.Pod) string {
	about := corev1.Affinity{PodAffinity: p.Spec.Affinity.PodAffinity, PodAntiAffinity: p.Spec.Affinity.PodAntiAffinity}
	b, err := about.Marshal()
	if err != nil {
		panic("neighbours: encoding an affinity: " + err.Error())
	}
	var out strings.Builder
	word(&out, p.Namespace)
	word(&out, string(b))
	for _, k := range labelKeys(about) {
		if v, ok := p.Labels[k]; ok {
			word(&out, k)
			word(&out, v)
		}
	}
	return out.String()
}

// labelKeys returns the keys of labels by which the terms compare others with their owner, sorted.
func labelKeys(a corev1.Affinity) (keys []string) {
	var list []corev1.PodAffinityTerm
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		list = append(list, required...)
		for i := range preferred {
			list = append(list, preferred[i].PodAffinityTerm)
		}
	}
	if t := a.PodAffinity; t != nil {
		add(t.RequiredDuringSchedulingIgnoredDuringExecution, t.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if t := a.PodAntiAffinity; t != nil {
		add(t.RequiredDuringSchedulingIgnoredDuringExecution, t.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	for i := range list {
		keys = append(append(keys, list[i].MatchLabelKeys...), list[i].MismatchLabelKeys...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func terms(p *corev1.Pod, list []corev1.PodAffinityTerm) (out []term) {
	for i := range list {
		out = append(out, readTerm(p, &list[i]))
	}
	return out
}

func (a *Asks) wish(p *corev1.Pod, list []corev1.WeightedPodAffinityTerm, sign int64) {
	for i := range list {
		a.wishes = append(a.wishes, wish{readTerm(p, &list[i].PodAffinityTerm), sign * int64(list[i].Weight)})
	}
}

func readTerm(p *corev1.Pod, t *corev1.PodAffinityTerm) term {
	out := term{key: t.TopologyKey}
	out.part.spaces = slices.Compact(slices.Sorted(slices.Values(t.Namespaces)))
	if len(t.Namespaces) == 0 && t.NamespaceSelector == nil {
		out.part.spaces = []string{p.Namespace}
	}
	out.part.bySpace = compile(t.NamespaceSelector)
	more := demands(p, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
	more = append(more, demands(p, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)...)
	out.part.pods = compile(t.LabelSelector, more...)
	return out
}

// demands turns the owner's own labels into what is asked of others; a label that it does not have
// asks nothing.
func demands(p *corev1.Pod, keys []string, op metav1.LabelSelectorOperator) (out []requirement) {
	for _, k := range keys {
		if v, ok := p.Labels[k]; ok {
			out = append(out, requirement{key: k, op: op, values: []string{v}})
		}
	}
	return out
}

// keep has a sweep spare what is asked.
func (a *Asks) keep(swept uint64) {
	a.mark = swept
	for _, b := range a.bonds {
		b.mark = swept
	}
}

// holds reports whether a pod with a node asks it.
func (a *Asks) holds() bool {
	return slices.ContainsFunc(a.bonds, func(b *bond) bool { return b.pods > 0 })
}

// Clings reports whether pods of such labels that ask this like to be where others of theirs are, as far as the labels of
// their namespace do not speak against it.
func (a *Asks) Clings(namespace string, labels map[string]string) bool {
	if a == nil {
		return false
	}
	return slices.ContainsFunc(a.wishes, func(w wish) bool {
		p := &w.part
		return w.weight > 0 && p.pods != nil && p.pods.matches(labels) && (p.bySpace != nil || slices.Contains(p.spaces, namespace))
	})
}
