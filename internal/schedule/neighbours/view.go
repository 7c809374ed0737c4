package neighbours

import (
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Verdict says whether pods let a pod onto a node.
type Verdict uint8

// The verdicts. A pod is refused for the first that applies, in the order of Kubernetes' plug-ins.
const (
	Fits       Verdict = iota
	Unlabelled         // the node has no such domain as a spread counts by
	Skewed             // there would be too many of them in the node's domain
	Alone              // those whom it demands are not there
	Repelled           // there are some whom it keeps away from
	Unwelcome          // some that are there keep away from it
)

// Spread is one topology spread constraint of a pod.
type Spread struct {
	Key        string
	Pods       *metav1.LabelSelector
	LabelKeys  []string // of the pod's own labels, that others are to share
	MaxSkew    int64
	MinDomains int64
	Hard       bool // it refuses nodes; else it only likes others better
	// Scope names Include, which says whether a node's pods and its domain count; nil: they do.
	Scope   string
	Include func(*corev1.Node) bool
}

// View is what one class of pods asks, and what is asked of it.
type View struct {
	x         *Index
	namespace string
	labels    map[string]string
	guise     *Guise
	worn      uint64     // the Index's generation of guises that guise is of
	near      []*counter // by the keys of what is demanded
	group     *match     // what is demanded of them
	apart     []*counter
	wishes    []wished
	hard      []spread
	soft      []spread
	anything  bool

	grouping *grouping
	shape    uint64 // of the Index when the grouping was chosen
	swept    uint64
	forms    uint64 // how often it was another
	points   []int64
	rated    rated
}

type wished struct {
	*counter
	weight int64
}

type spread struct {
	*counter // nil: nobody is counted
	key      *key
	scope    *scope
	skew     int64
	domains  int64
	self     int64 // 1: the pod counts itself
}

// View returns the view of a pod that has those spreads.
func (x *Index) View(p *corev1.Pod, asks *Asks, spreads []Spread) *View {
	v := &View{x: x, namespace: p.Namespace, labels: p.Labels, anything: asks != nil || len(spreads) > 0}
	if asks != nil {
		v.read(asks, p)
	}
	v.hard, v.soft = v.spreads(p, spreads, true), v.spreads(p, spreads, false)
	return v
}

func (v *View) read(asks *Asks, p *corev1.Pod) {
	x := v.x
	if len(asks.together) > 0 {
		parts := make([]part, len(asks.together))
		for i, t := range asks.together {
			parts[i] = t.part
		}
		m := x.match(parts...)
		v.group = m
		for _, t := range asks.together {
			c := x.counter(m, x.key(t.key), nil)
			c.demanded = true
			v.near = append(v.near, c)
		}
	}
	for _, t := range asks.apart {
		v.apart = append(v.apart, x.counter(x.match(t.part), x.key(t.key), nil))
	}
	for _, w := range asks.wishes {
		v.wishes = append(v.wishes, wished{x.counter(x.match(w.part), x.key(w.key), nil), w.weight})
	}
}

// spreads reads the constraints that refuse, or those that do not.
func (v *View) spreads(p *corev1.Pod, list []Spread, hard bool) (out []spread) {
	var keys []*key
	var text strings.Builder
	for i := range list {
		if list[i].Hard == hard {
			keys = append(keys, v.x.key(list[i].Key))
			word(&text, list[i].Key)
		}
	}
	for i := range list {
		l := &list[i]
		if l.Hard != hard {
			continue
		}
		s := spread{key: v.x.key(l.Key), skew: max(1, l.MaxSkew), domains: max(1, l.MinDomains)}
		s.scope = v.x.scope(text.String()+"/"+l.Scope, keys, l.Include)
		if pods := compile(l.Pods, demands(p, l.LabelKeys, metav1.LabelSelectorOpIn)...); pods != nil {
			s.counter = v.x.counter(v.x.match(part{spaces: []string{p.Namespace}, pods: pods}), s.key, s.scope)
			if pods.matches(p.Labels) {
				s.self = 1
			}
		}
		out = append(out, s)
	}
	return out
}

// met returns the matches that the class is among.
func (v *View) met() []*match {
	if !v.x.awake || v.x.stale {
		return nil
	}
	if v.guise == nil || v.worn != v.x.worn {
		v.guise, v.worn = v.x.Guise(v.namespace, v.labels), v.x.worn
	}
	return v.guise.matches
}

// Idle reports whether every node is the same to the pods, as far as others go.
func (v *View) Idle() bool {
	if v.anything {
		return false
	}
	for _, m := range v.met() {
		for _, b := range m.bonds {
			if b.owners.nonzero > 0 {
				return false
			}
		}
	}
	return true
}

// minimum is how many pods the domain with the fewest has.
func (s *spread) minimum() int64 {
	if s.counter == nil {
		return 0
	}
	return s.counter.minimum(s.domains)
}

func (s *spread) at(d int32) int64 {
	if s.counter == nil {
		return 0
	}
	return s.n.at(d)
}

// weight makes a pod more in one of few domains count less than in one of many, as Kubernetes does.
func (s *spread) weight() float64 {
	return math.Log(float64(s.scope.domains[s.key].nonzero+2)) / float64(s.skew)
}

// Judge says whether pods let one of the class onto the node.
func (v *View) Judge(n *Node) Verdict {
	for i := range v.hard {
		s := &v.hard[i]
		d := s.key.of(n)
		if d == 0 {
			return Unlabelled
		}
		if s.at(d)+s.self-s.minimum() > s.skew {
			return Skewed
		}
	}
	if !v.accompanied(n) {
		return Alone
	}
	for _, c := range v.apart {
		if d := c.key.of(n); d != 0 && c.n.at(d) > 0 {
			return Repelled
		}
	}
	for _, m := range v.met() {
		for _, b := range m.bonds {
			if d := b.key.of(n); b.weight == 0 && d != 0 && b.owners.at(d) > 0 {
				return Unwelcome
			}
		}
	}
	return Fits
}

// accompanied reports whether those whom the class demands are in the domains of the node. Where there
// are none anywhere the first of a group that demands its own goes ahead.
func (v *View) accompanied(n *Node) bool {
	all := true
	for _, c := range v.near {
		d := c.key.of(n)
		if d == 0 {
			return false
		}
		all = all && c.n.at(d) > 0
	}
	return all || v.first()
}

// first reports whether the class's pods may be the first of their group.
func (v *View) first() bool {
	for _, c := range v.near {
		if c.n.nonzero > 0 {
			return false
		}
	}
	return v.self()
}

// self reports whether the class is among those whom it demands.
func (v *View) self() bool { return v.group != nil && v.group.matches(v.x, v.namespace, v.labels) }

// Labelled reports whether the node has all domains without which no change of pods lets one of the class there.
func (v *View) Labelled(n *Node) bool {
	for i := range v.hard {
		if v.hard[i].key.of(n) == 0 {
			return false
		}
	}
	return true
}

// Accompanied reports whether those whom the class demands are there, if it demands any.
func (v *View) Accompanied(n *Node) bool { return v.accompanied(n) }

// Unplaced is the skew of a node without the domains that a spread counts by: worse than any other.
const Unplaced = 1e6

// Pull says how much pods draw one of the class to the node, in weights of wishes, and by how much it would add to
// what its spreads are to keep even.
func (v *View) Pull(n *Node) (pull int64, skew float64) {
	for _, w := range v.wishes {
		if d := w.key.of(n); d != 0 {
			pull += w.weight * w.n.at(d)
		}
	}
	for _, m := range v.met() {
		for _, b := range m.bonds {
			if d := b.key.of(n); b.weight != 0 && d != 0 {
				pull += b.weight * b.owners.at(d)
			}
		}
	}
	for i := range v.soft {
		s := &v.soft[i]
		d := s.key.of(n)
		if d == 0 {
			return pull, Unplaced
		}
		skew += float64(s.at(d)) * s.weight()
	}
	return pull, skew
}

// Better returns a number that has moved when a node may take a pod of the class that it refused.
func (v *View) Better() uint64 {
	now := v.x.moved
	for _, c := range v.near {
		now = max(now, c.filled)
		now = max(now, c.emptied) // the first of a group may go ahead
	}
	for _, c := range v.apart {
		now = max(now, c.emptied)
	}
	for i := range v.hard {
		if c := v.hard[i].counter; c != nil {
			now = max(now, c.fewer, c.rose)
		}
	}
	for _, m := range v.met() {
		for _, b := range m.bonds {
			if b.weight == 0 {
				now = max(now, b.emptied)
			}
		}
	}
	return now
}
