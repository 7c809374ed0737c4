package neighbours

import (
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// match is a set of pods: those that all its parts match.
type match struct {
	text     string
	parts    []part
	guises   map[*Guise]bool // that it matches
	counters []*counter
	bonds    []*bond
}

// part is one term's namespaces and selector.
type part struct {
	spaces  []string  // by name, sorted
	bySpace *selector // by their labels; nil: none
	pods    *selector // nil: nobody
}

func (p *part) matches(x *Index, namespace string, labels map[string]string) bool {
	if p.pods == nil {
		return false
	}
	if _, named := slices.BinarySearch(p.spaces, namespace); !named && (p.bySpace == nil || !p.bySpace.matches(x.space(namespace).labels)) {
		return false
	}
	return p.pods.matches(labels)
}

func (m *match) matches(x *Index, namespace string, labels map[string]string) bool {
	for i := range m.parts {
		if !m.parts[i].matches(x, namespace, labels) {
			return false
		}
	}
	return true
}

// follows reports whether labels of namespaces decide about it.
func (m *match) follows() bool {
	return slices.ContainsFunc(m.parts, func(p part) bool { return p.bySpace != nil && len(p.bySpace.list) > 0 })
}

// selector is a label selector that is quick however many values it names.
type selector struct{ list []requirement }

type requirement struct {
	key    string
	op     metav1.LabelSelectorOperator
	values []string            // sorted
	set    map[string]struct{} // of many values
}

// fewValues are looked through rather than looked up.
const fewValues = 8

func (r *requirement) has(value string) bool {
	if r.set != nil {
		_, ok := r.set[value]
		return ok
	}
	return slices.Contains(r.values, value)
}

// matches is Kubernetes' reading: what is not there is not in any list.
func (s *selector) matches(labels map[string]string) bool {
	for i := range s.list {
		r := &s.list[i]
		value, ok := labels[r.key]
		switch r.op {
		case metav1.LabelSelectorOpIn:
			ok = ok && r.has(value)
		case metav1.LabelSelectorOpNotIn:
			ok = !ok || !r.has(value)
		case metav1.LabelSelectorOpDoesNotExist:
			ok = !ok
		}
		if !ok {
			return false
		}
	}
	return true
}

// compile reads a selector with further demands; nil: it matches nothing, as a selector that
// is not there does, and one that cannot be read.
func compile(s *metav1.LabelSelector, more ...requirement) *selector {
	if s == nil {
		return nil
	}
	out := &selector{}
	for key, value := range s.MatchLabels {
		out.list = append(out.list, requirement{key: key, op: metav1.LabelSelectorOpIn, values: []string{value}})
	}
	for _, e := range s.MatchExpressions {
		r := requirement{key: e.Key, op: e.Operator}
		switch e.Operator {
		case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
			r.values = slices.Compact(slices.Sorted(slices.Values(e.Values)))
		case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
		default:
			return nil
		}
		out.list = append(out.list, r)
	}
	out.list = append(out.list, more...)
	for i := range out.list {
		if r := &out.list[i]; len(r.values) > fewValues {
			r.set = make(map[string]struct{}, len(r.values))
			for _, v := range r.values {
				r.set[v] = struct{}{}
			}
		}
	}
	slices.SortFunc(out.list, func(a, b requirement) int { return strings.Compare(a.text(), b.text()) })
	out.list = slices.CompactFunc(out.list, func(a, b requirement) bool { return a.text() == b.text() })
	return out
}

func (r *requirement) text() string {
	var b strings.Builder
	r.write(&b)
	return b.String()
}

func (r *requirement) write(b *strings.Builder) {
	word(b, string(r.op))
	word(b, r.key)
	for _, v := range r.values {
		word(b, v)
	}
}

// word writes a text such that no two lists of words look the same.
func word(b *strings.Builder, s string) {
	b.WriteString(strconv.Itoa(len(s)))
	b.WriteByte(':')
	b.WriteString(s)
}

func (s *selector) write(b *strings.Builder) {
	if s == nil {
		b.WriteString("-;")
		return
	}
	for i := range s.list {
		s.list[i].write(b)
		b.WriteByte(',')
	}
	b.WriteByte(';')
}

func (p *part) text() string {
	var b strings.Builder
	for _, n := range p.spaces {
		word(&b, n)
	}
	b.WriteByte(';')
	p.bySpace.write(&b)
	p.pods.write(&b)
	return b.String()
}

// match returns the one match of that text.
func (x *Index) match(parts ...part) *match {
	texts := make([]string, len(parts))
	for i := range parts {
		texts[i] = parts[i].text()
	}
	slices.Sort(texts)
	text := strings.Join(slices.Compact(texts), "&")
	m := x.matches[text]
	if m == nil {
		m = &match{text: text, parts: parts, guises: map[*Guise]bool{}}
		x.matches[text] = m
		x.listen(m)
		for _, g := range x.meant(m) {
			x.link(g, m)
		}
	}
	return m
}

// listen has the match hear of guises that are yet to come.
func (x *Index) listen(m *match) {
	for _, p := range m.parts {
		if p.pods == nil {
			continue
		}
		for i := range p.pods.list {
			x.mention(p.pods.list[i].key)
		}
	}
	for _, h := range m.hooks() {
		x.hooks[h] = append(x.hooks[h], m)
	}
	if m.follows() {
		x.following = append(x.following, m)
	}
	x.wake()
	x.size++
}

// hook is where guises find the matches that may match them: by namespace, "" for any, and by a label
// that the selector demands: with its value; with any, ""; or none.
type hook struct{ space, key, value string }

// hookedValues is how many values of a demand are hooked one by one.
const hookedValues = 16

// hooks returns where a match waits for guises; none: it matches nothing.
func (m *match) hooks() (out []hook) {
	p := &m.parts[0]
	if p.pods == nil {
		return nil
	}
	space := ""
	if p.bySpace == nil && len(p.spaces) == 1 {
		space = p.spaces[0]
	}
	r := p.pods.narrowest()
	switch {
	case r == nil:
		return []hook{{space: space}}
	case r.op == metav1.LabelSelectorOpExists || len(r.values) > hookedValues:
		return []hook{{space: space, key: r.key}}
	}
	for _, v := range r.values {
		out = append(out, hook{space, r.key, v})
	}
	return out
}

// narrowest returns the demand that the fewest labels meet; nil: there is none that a label has to be there for.
func (s *selector) narrowest() (best *requirement) {
	for i := range s.list {
		r := &s.list[i]
		switch {
		case r.op == metav1.LabelSelectorOpExists && best == nil:
			best = r
		case r.op == metav1.LabelSelectorOpIn && (best == nil || best.op == metav1.LabelSelectorOpExists || len(r.values) < len(best.values)):
			best = r
		}
	}
	return best
}
