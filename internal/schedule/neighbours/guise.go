package neighbours

import (
	"hash/fnv"
	"maps"
	"slices"
)

// Guise is what a pod is for others: its namespace and its labels. There is one of each in an Index.
type Guise struct {
	namespace string
	labels    map[string]string
	matches   []*match // that match it
	pods      []*Pod   // that have a node
}

// space is a namespace.
type space struct {
	labels map[string]string
	guises map[*Guise]bool
	pairs  map[pair]map[*Guise]bool
}

// pair is a label; an empty value stands for all.
type pair struct{ key, value string }

func (x *Index) space(name string) *space {
	s := x.spaces[name]
	if s == nil {
		s = &space{guises: map[*Guise]bool{}, pairs: map[pair]map[*Guise]bool{}}
		x.spaces[name] = s
	}
	return s
}

// Guise returns the guise of pods with these labels, which must not change any more.
func (x *Index) Guise(namespace string, labels map[string]string) *Guise {
	at := x.hash(namespace, labels)
	for _, g := range x.guises[at] {
		if g.namespace == namespace && x.alike(g.labels, labels) {
			return g
		}
	}
	g := &Guise{namespace: namespace, labels: labels}
	x.guises[at] = append(x.guises[at], g)
	x.size++
	s := x.space(namespace)
	s.guises[g] = true
	for k, v := range labels {
		for _, p := range []pair{{k, v}, {key: k}} {
			if s.pairs[p] == nil {
				s.pairs[p] = map[*Guise]bool{}
			}
			s.pairs[p][g] = true
		}
	}
	for _, h := range g.hooks() {
		for _, m := range x.hooks[h] {
			if !m.guises[g] && m.matches(x, namespace, labels) {
				x.link(g, m)
			}
		}
	}
	return g
}

// hooks returns where matches may wait for the guise.
func (g *Guise) hooks() []hook {
	out := []hook{{}, {space: g.namespace}}
	for k, v := range g.labels {
		out = append(out, hook{"", k, ""}, hook{g.namespace, k, ""})
		if v != "" {
			out = append(out, hook{"", k, v}, hook{g.namespace, k, v})
		}
	}
	return out
}

// hash is the same for labels that are alike, in whatever order a map gives them.
func (x *Index) hash(namespace string, labels map[string]string) (sum uint64) {
	h := fnv.New64a()
	h.Write([]byte(namespace))
	sum = h.Sum64()
	for k, v := range labels {
		if x.Skips(k) {
			continue
		}
		h.Reset()
		h.Write([]byte(k))
		h.Write([]byte{0})
		h.Write([]byte(v))
		sum += h.Sum64()
	}
	return sum
}

// alike reports whether labels differ in nothing that a selector has mentioned.
func (x *Index) alike(a, b map[string]string) bool {
	n := 0
	for k, v := range a {
		if x.Skips(k) {
			continue
		}
		n++
		if w, ok := b[k]; !ok || w != v {
			return false
		}
	}
	for k := range b {
		if !x.Skips(k) {
			n--
		}
	}
	return n == 0
}

// meant returns the guises that the match matches, found by what its first part demands.
func (x *Index) meant(m *match) (out []*Guise) {
	p := &m.parts[0]
	if p.pods == nil {
		return nil
	}
	look := func(s *space) {
		for g := range s.near(p.pods) {
			if m.matches(x, g.namespace, g.labels) {
				out = append(out, g)
			}
		}
	}
	if p.bySpace == nil {
		for _, name := range p.spaces {
			look(x.space(name))
		}
		return out
	}
	for _, s := range x.spaces {
		look(s)
	}
	return out
}

// near returns guises among which all are that the selector matches.
func (s *space) near(sel *selector) map[*Guise]bool {
	r := sel.narrowest()
	switch {
	case r == nil:
		return s.guises
	case len(r.values) == 1:
		return s.pairs[pair{r.key, r.values[0]}]
	}
	return s.pairs[pair{key: r.key}]
}

// link notes that the match matches the guise.
func (x *Index) link(g *Guise, m *match) {
	m.guises[g] = true
	g.matches = append(g.matches, m)
	x.touch()
	x.shape++
	for _, c := range m.counters {
		for _, p := range g.pods {
			c.count(p, 1)
		}
	}
}

func (x *Index) unlink(g *Guise, m *match) {
	delete(m.guises, g)
	g.matches = slices.DeleteFunc(g.matches, func(o *match) bool { return o == m })
	x.touch()
	for _, c := range m.counters {
		for _, p := range g.pods {
			c.count(p, -1)
		}
	}
}

// SetNamespace takes in the labels of a namespace, none where it is gone.
func (x *Index) SetNamespace(name string, labels map[string]string) {
	s := x.space(name)
	if maps.Equal(s.labels, labels) {
		return
	}
	s.labels = labels
	if len(x.following) > 0 {
		x.touch()
		x.moved = x.clock
	}
	for _, m := range x.following {
		for g := range s.guises {
			switch is, was := m.matches(x, g.namespace, g.labels), m.guises[g]; {
			case is && !was:
				x.link(g, m)
			case was && !is:
				x.unlink(g, m)
			}
		}
	}
}

// drop forgets a guise that no pod has.
func (x *Index) drop(g *Guise) {
	at := x.hash(g.namespace, g.labels)
	if x.guises[at] = slices.DeleteFunc(x.guises[at], func(o *Guise) bool { return o == g }); len(x.guises[at]) == 0 {
		delete(x.guises, at)
	}
	x.size--
	for _, m := range g.matches {
		delete(m.guises, g)
	}
	s := x.space(g.namespace)
	delete(s.guises, g)
	for k, v := range g.labels {
		for _, p := range []pair{{k, v}, {key: k}} {
			if delete(s.pairs[p], g); len(s.pairs[p]) == 0 {
				delete(s.pairs, p)
			}
		}
	}
}
