package neighbours

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// world is a cell as the plain reading sees it: lists of nodes and pods.
type world struct {
	x      *Index
	rng    *rand.Rand
	nodes  []*node
	pods   map[string]*pod
	spaces map[string]map[string]string
	made   int
	lone   bool
}

type node struct {
	near Node
	row  *corev1.Node
}

type pod struct {
	near Pod
	obj  *corev1.Pod
	node *node
}

func pick[T any](rng *rand.Rand, list ...T) T { return list[rng.IntN(len(list))] }

var topologies = []string{"host", "zone", "rack", "nobody"}

// someKey is of nodes' names alone in some worlds.
func (w *world) someKey() string {
	if w.lone {
		return "host"
	}
	return pick(w.rng, topologies...)
}

func (w *world) someLabels() map[string]string {
	out := map[string]string{}
	for _, k := range []string{"app", "tier", "own"} {
		if w.rng.IntN(4) > 0 {
			out[k] = pick(w.rng, "a", "b", "c", "")
		}
	}
	return out
}

func (w *world) someSelector() *metav1.LabelSelector {
	switch w.rng.IntN(8) {
	case 0:
		return nil
	case 1:
		return &metav1.LabelSelector{}
	}
	s := &metav1.LabelSelector{}
	if w.rng.IntN(2) == 0 {
		s.MatchLabels = map[string]string{pick(w.rng, "app", "tier"): pick(w.rng, "a", "b", "")}
	}
	for range w.rng.IntN(3) {
		e := metav1.LabelSelectorRequirement{
			Key:      pick(w.rng, "app", "tier", "own"),
			Operator: pick(w.rng, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist),
		}
		if e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpNotIn {
			e.Values = []string{pick(w.rng, "a", "b"), pick(w.rng, "b", "c", "")}
			if w.rng.IntN(5) == 0 {
				for i := range 30 {
					e.Values = append(e.Values, fmt.Sprint(i))
				}
			}
		}
		s.MatchExpressions = append(s.MatchExpressions, e)
	}
	return s
}

func (w *world) someTerm() corev1.PodAffinityTerm {
	t := corev1.PodAffinityTerm{TopologyKey: w.someKey(), LabelSelector: w.someSelector()}
	for range w.rng.IntN(3) {
		t.Namespaces = append(t.Namespaces, pick(w.rng, "n0", "n1", "n2"))
	}
	if w.rng.IntN(4) == 0 {
		t.NamespaceSelector = pick(w.rng, &metav1.LabelSelector{}, &metav1.LabelSelector{MatchLabels: map[string]string{"team": "x"}},
			&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpDoesNotExist}}})
	}
	if t.LabelSelector != nil && w.rng.IntN(4) == 0 {
		t.MatchLabelKeys = []string{pick(w.rng, "app", "own")}
	}
	if t.LabelSelector != nil && w.rng.IntN(6) == 0 {
		t.MismatchLabelKeys = []string{pick(w.rng, "tier", "own")}
	}
	return t
}

func (w *world) someAffinity() *corev1.Affinity {
	if w.rng.IntN(3) == 0 {
		return nil
	}
	list := func() (out []corev1.PodAffinityTerm) {
		for range w.rng.IntN(5) - 2 {
			out = append(out, w.someTerm())
		}
		return out
	}
	wishes := func() (out []corev1.WeightedPodAffinityTerm) {
		for _, t := range list() {
			out = append(out, corev1.WeightedPodAffinityTerm{Weight: int32(1 + w.rng.IntN(100)), PodAffinityTerm: t})
		}
		return out
	}
	return &corev1.Affinity{
		PodAffinity:     &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: list(), PreferredDuringSchedulingIgnoredDuringExecution: wishes()},
		PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: list(), PreferredDuringSchedulingIgnoredDuringExecution: wishes()},
	}
}

func (w *world) somePod() *corev1.Pod {
	w.made++
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pick(w.rng, "n0", "n1", "n2"), Name: fmt.Sprint("p", w.made), Labels: w.someLabels()},
		Spec:       corev1.PodSpec{Affinity: w.someAffinity()},
	}
}

func (w *world) someSpreads() (out []Spread) {
	for range w.rng.IntN(5) - 1 {
		s := Spread{Key: w.someKey(), Pods: w.someSelector(), MaxSkew: int64(1 + w.rng.IntN(3)), MinDomains: int64(w.rng.IntN(4)), Hard: w.rng.IntN(2) == 0}
		if w.rng.IntN(3) == 0 {
			s.Scope, s.Include = "fast", func(n *corev1.Node) bool { return n.Labels["disk"] == "fast" }
		}
		if s.Pods != nil && w.rng.IntN(3) == 0 {
			s.LabelKeys = []string{"own"}
		}
		out = append(out, s)
	}
	return out
}

// step changes something.
func (w *world) step() {
	switch w.rng.IntN(12) {
	case 0:
		at := w.rng.IntN(len(w.nodes))
		n := w.nodes[at]
		if n.row = nil; w.rng.IntN(4) > 0 {
			n.row = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{}}}
			for _, k := range []string{"host", "zone", "rack", "disk"} {
				if w.rng.IntN(5) > 0 {
					n.row.Labels[k] = pick(w.rng, "1", "2", "3")
				}
			}
			if w.rng.IntN(3) == 0 {
				n.row.Labels["disk"] = "fast"
			}
			if w.lone {
				n.row.Labels["host"] = fmt.Sprint(at)
			}
		}
		w.x.SetNode(&n.near, n.row)
	case 1:
		name, l := pick(w.rng, "n0", "n1", "n2"), map[string]string{}
		if w.rng.IntN(2) == 0 {
			l["team"] = pick(w.rng, "x", "y")
		}
		w.spaces[name] = l
		w.x.SetNamespace(name, l)
	case 2, 3, 4:
		for _, name := range slices.Sorted(maps.Keys(w.pods)) {
			if w.rng.IntN(4) == 0 {
				w.x.Remove(&w.pods[name].near)
				delete(w.pods, name)
				break
			}
		}
	case 5:
		for _, name := range slices.Sorted(maps.Keys(w.pods)) {
			if p := w.pods[name]; w.rng.IntN(6) == 0 {
				now := metav1.Now()
				p.obj.DeletionTimestamp = &now
				w.x.Leave(&p.near)
				break
			}
		}
	default:
		p := &pod{obj: w.somePod(), node: w.nodes[w.rng.IntN(len(w.nodes))]}
		p.near = w.x.Of(p.obj.Namespace, p.obj.Labels, w.x.Read(p.obj))
		w.settle()
		w.x.Add(&p.near, &p.node.near)
		w.pods[p.obj.Name] = p
	}
}

func (w *world) settle() {
	if w.x.Stale() {
		w.x.Recount(w.all)
	}
}

func (w *world) all(yield func(*Pod) bool) {
	for _, p := range w.pods {
		if !yield(&p.near) {
			return
		}
	}
}

// plainTerm reads a term as the API's documentation says it.
func (w *world) plainTerm(owner *corev1.Pod, t *corev1.PodAffinityTerm, other *corev1.Pod) bool {
	inSpace := slices.Contains(t.Namespaces, other.Namespace)
	if len(t.Namespaces) == 0 && t.NamespaceSelector == nil {
		inSpace = other.Namespace == owner.Namespace
	}
	if !inSpace {
		s, err := metav1.LabelSelectorAsSelector(t.NamespaceSelector)
		if err != nil || !s.Matches(labels.Set(w.spaces[other.Namespace])) {
			return false
		}
	}
	return plainSelector(owner, t.LabelSelector, t.MatchLabelKeys, t.MismatchLabelKeys, other)
}

func plainSelector(owner *corev1.Pod, sel *metav1.LabelSelector, same, not []string, other *corev1.Pod) bool {
	s, err := metav1.LabelSelectorAsSelector(sel)
	if err != nil || !s.Matches(labels.Set(other.Labels)) {
		return false
	}
	for _, k := range same {
		if v, ok := owner.Labels[k]; ok {
			if o, has := other.Labels[k]; !has || o != v {
				return false
			}
		}
	}
	for _, k := range not {
		if v, ok := owner.Labels[k]; ok {
			if o, has := other.Labels[k]; has && o == v {
				return false
			}
		}
	}
	return true
}

// shares reports whether two nodes are of one domain.
func shares(a, b *node, key string) bool {
	if a.row == nil || b.row == nil {
		return false
	}
	x, ok := a.row.Labels[key]
	y, has := b.row.Labels[key]
	return ok && has && x == y
}

func (w *world) plainJudge(p *corev1.Pod, spreads []Spread, n *node) Verdict {
	if v := w.plainSpread(p, spreads, n); v != Fits {
		return v
	}
	a := p.Spec.Affinity
	if a == nil {
		a = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{}, PodAntiAffinity: &corev1.PodAntiAffinity{}}
	}
	if w.plainAlone(p, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, n) {
		return Alone
	}
	anti := a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	for i := range anti {
		for _, o := range w.pods {
			if shares(n, o.node, anti[i].TopologyKey) && w.plainTerm(p, &anti[i], o.obj) {
				return Repelled
			}
		}
	}
	for _, o := range w.pods {
		if o.obj.Spec.Affinity == nil {
			continue
		}
		theirs := o.obj.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		for i := range theirs {
			if shares(n, o.node, theirs[i].TopologyKey) && w.plainTerm(o.obj, &theirs[i], p) {
				return Unwelcome
			}
		}
	}
	return Fits
}

func (w *world) plainAlone(p *corev1.Pod, list []corev1.PodAffinityTerm, n *node) bool {
	all := func(o *corev1.Pod) bool {
		return !slices.ContainsFunc(list, func(t corev1.PodAffinityTerm) bool { return !w.plainTerm(p, &t, o) })
	}
	met, anywhere := true, false
	for i := range list {
		if _, has := n.row.Labels[list[i].TopologyKey]; !has {
			return true
		}
		here := false
		for _, o := range w.pods {
			if all(o.obj) && o.node.row != nil {
				_, counts := o.node.row.Labels[list[i].TopologyKey]
				anywhere = anywhere || counts
				here = here || shares(n, o.node, list[i].TopologyKey)
			}
		}
		met = met && here
	}
	return !met && (anywhere || !all(p))
}

// plainCounts returns what a constraint counts by domain; domains of the scope are there with 0.
func (w *world) plainCounts(p *corev1.Pod, spreads []Spread, s *Spread) map[string]int64 {
	out := map[string]int64{}
	in := func(n *node) bool {
		if n.row == nil || s.Include != nil && !s.Include(n.row) {
			return false
		}
		for i := range spreads {
			if _, has := n.row.Labels[spreads[i].Key]; spreads[i].Hard == s.Hard && !has {
				return false
			}
		}
		return true
	}
	for _, n := range w.nodes {
		if in(n) {
			out[n.row.Labels[s.Key]] += 0
		}
	}
	for _, o := range w.pods {
		if in(o.node) && o.obj.Namespace == p.Namespace && o.obj.DeletionTimestamp == nil && plainSelector(p, s.Pods, s.LabelKeys, nil, o.obj) {
			out[o.node.row.Labels[s.Key]]++
		}
	}
	return out
}

func (w *world) plainSpread(p *corev1.Pod, spreads []Spread, n *node) Verdict {
	for i := range spreads {
		s := &spreads[i]
		if !s.Hard {
			continue
		}
		value, has := n.row.Labels[s.Key]
		if !has {
			return Unlabelled
		}
		counts := w.plainCounts(p, spreads, s)
		least := int64(math.MaxInt64)
		for _, c := range counts {
			least = min(least, c)
		}
		if len(counts) == 0 || int64(len(counts)) < s.MinDomains {
			least = 0
		}
		self := int64(0)
		if plainSelector(p, s.Pods, s.LabelKeys, nil, p) {
			self = 1
		}
		if counts[value]+self-least > s.MaxSkew {
			return Skewed
		}
	}
	return Fits
}

func (w *world) plainPull(p *corev1.Pod, spreads []Spread, n *node) (pull int64, skew float64) {
	each := func(owner, other *corev1.Pod, where *node) {
		a := owner.Spec.Affinity
		if a == nil {
			return
		}
		for sign, list := range map[int64][]corev1.WeightedPodAffinityTerm{
			1: a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, -1: a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution,
		} {
			for i := range list {
				if shares(n, where, list[i].PodAffinityTerm.TopologyKey) && w.plainTerm(owner, &list[i].PodAffinityTerm, other) {
					pull += sign * int64(list[i].Weight)
				}
			}
		}
	}
	for _, o := range w.pods {
		each(p, o.obj, o.node)
		each(o.obj, p, o.node)
		if o.obj.Spec.Affinity == nil {
			continue
		}
		list := o.obj.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		for i := range list {
			if shares(n, o.node, list[i].TopologyKey) && w.plainTerm(o.obj, &list[i], p) {
				pull++
			}
		}
	}
	for i := range spreads {
		s := &spreads[i]
		if s.Hard {
			continue
		}
		value, has := n.row.Labels[s.Key]
		if !has {
			return pull, Unplaced
		}
		counts := w.plainCounts(p, spreads, s)
		skew += float64(counts[value]) * (math.Log(float64(len(counts)+2)) / float64(s.MaxSkew))
	}
	return pull, skew
}

// TestAgreesWithPlainReading changes cells at random and asks for random pods: what is counted and what is summed
// up must say what a look at all pods says. Views that are kept must be told when a node may have got better.
func TestAgreesWithPlainReading(t *testing.T) {
	asked, refused := 0, map[Verdict]int{}
	for seed := range uint64(24) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := &world{x: New("own"), rng: rng, pods: map[string]*pod{}, spaces: map[string]map[string]string{}}
		for range 1 + rng.IntN(8) {
			w.nodes = append(w.nodes, &node{})
		}
		w.lone = seed%3 == 0
		var views []*kept
		for range 120 {
			w.step()
			w.settle()
			if rng.IntN(60) == 0 {
				w.x.size = 1 << 20
				w.x.Sweep(w.all)
				views = nil
			}
			if len(views) < 6 {
				views = append(views, w.view())
				w.settle()
			}
			for i, k := range views {
				asked++
				k.check(t, w, refused)
				if rng.IntN(30) == 0 {
					views[i] = w.view()
					w.settle()
					views[i].check(t, w, refused)
				}
			}
		}
	}
	for v := Fits; v <= Unwelcome; v++ {
		if refused[v] < 100 {
			t.Errorf("verdict %d was given %d times only", v, refused[v])
		}
	}
	t.Logf("%d views asked, verdicts %v", asked, refused)
}

// kept is a view, and what it said.
type kept struct {
	view    *View
	pod     *corev1.Pod
	spreads []Spread
	said    map[*node]Verdict
	better  uint64
}

func (w *world) view() *kept {
	k := &kept{pod: w.somePod(), spreads: w.someSpreads()}
	k.view = w.x.View(k.pod, w.x.Read(k.pod), k.spreads)
	return k
}

func (k *kept) check(t *testing.T, w *world, verdicts map[Verdict]int) {
	t.Helper()
	better := k.view.Better()
	points := k.view.Groups(Rate{Refused: -1 << 60, Pull: 1000, Skew: 1e6})
	k.view.Prepare()
	said := map[*node]Verdict{}
	for i, n := range w.nodes {
		if n.row == nil {
			continue
		}
		want := w.plainJudge(k.pod, k.spreads, n)
		pull, skew := w.plainPull(k.pod, k.spreads, n)
		verdicts[want]++
		if got := k.view.Judge(&n.near); got != want {
			t.Fatalf("node %d: Judge says %d, it is %d: %v %v", i, got, want, k.pod, k.spreads)
		}
		if p, s := k.view.Pull(&n.near); p != pull || math.Abs(s-skew) > 1e-9 {
			t.Fatalf("node %d: Pull says %d %g, it is %d %g", i, p, s, pull, skew)
		}
		v, p, s := k.view.Ask(&n.near)
		if v != want || v == Fits && (p != pull || math.Abs(s-skew) > 1e-9) {
			t.Fatalf("node %d: Ask says %d %d %g, it is %d %d %g", i, v, p, s, want, pull, skew)
		}
		if got, rate := points[k.view.Group(&n.near)], (&Rate{Pull: 1000, Skew: 1e6}).Points(pull, skew); want != Fits && got != -1<<60 || want == Fits && max(got-rate, rate-got) > 1 {
			t.Fatalf("node %d: its group has %d, it has verdict %d, %d", i, got, want, rate)
		}
		if k.view.Idle() && (want != Fits || pull != 0 || skew != 0) {
			t.Fatalf("node %d: an idle view says %d %d %g", i, want, pull, skew)
		}
		if was, ok := k.said[n]; ok && was != Fits && want == Fits && better == k.better {
			t.Fatalf("node %d got better, and nothing told", i)
		}
		said[n] = want
	}
	k.said, k.better = said, better
}
