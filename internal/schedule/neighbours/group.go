package neighbours

import (
	"slices"
	"strings"
)

// grouping is the nodes that are alike by some keys: in the same domains of all of them.
type grouping struct {
	keys  []*key
	ids   map[string]int32 // of groups, by their domains
	of    []int32          // by node; 0: it has no row
	first []*Node          // one node of each group; nil: it has none now
	made  uint64           // the Index's moved when that was so
	lone  bool             // no domain of any of the keys has more than one node
}

// grouping returns the one grouping by these keys, which are sorted.
func (x *Index) grouping(keys []*key) *grouping {
	var text strings.Builder
	for _, k := range keys {
		word(&text, k.name)
	}
	g := x.groupings[text.String()]
	if g == nil {
		g = &grouping{keys: keys, ids: map[string]int32{}, first: []*Node{nil}}
		x.groupings[text.String()] = g
		g.sort(x)
	}
	return g
}

// sort looks at all nodes again.
func (g *grouping) sort(x *Index) {
	g.made = x.moved
	g.of = append(g.of[:0], make([]int32, len(x.nodes))...)
	clear(g.first)
	g.lone = !slices.ContainsFunc(g.keys, func(k *key) bool { return slices.ContainsFunc(k.nodes, func(n int32) bool { return n > 1 }) })
	domains := make([]byte, 0, 4*len(g.keys))
	for _, n := range x.nodes {
		if n == nil || n.row == nil {
			continue
		}
		domains = domains[:0]
		for _, k := range g.keys {
			d := k.of(n)
			domains = append(domains, byte(d), byte(d>>8), byte(d>>16), byte(d>>24))
		}
		id, ok := g.ids[string(domains)]
		if !ok {
			id = int32(len(g.first))
			g.ids[string(domains)] = id
			g.first = append(g.first, nil)
		}
		if g.of[n.at] = id; g.first[id] == nil {
			g.first[id] = n
		}
	}
}

// byKeys returns the grouping by all keys that matter to the view.
func (v *View) byKeys() *grouping {
	if v.grouping == nil || v.shape != v.x.shape {
		keys := v.keys()
		v.shape = v.x.shape
		if v.grouping == nil || !slices.Equal(keys, v.grouping.keys) || v.swept != v.x.swept {
			v.grouping, v.swept = v.x.grouping(keys), v.x.swept
			v.forms++
		}
	}
	if v.grouping.made != v.x.moved {
		v.grouping.sort(v.x)
	}
	return v.grouping
}

func (v *View) keys() (keys []*key) {
	for _, c := range v.near {
		keys = append(keys, c.key)
	}
	for _, c := range v.apart {
		keys = append(keys, c.key)
	}
	for _, w := range v.wishes {
		keys = append(keys, w.key)
	}
	for i := range v.hard {
		keys = append(keys, v.hard[i].key)
	}
	for i := range v.soft {
		keys = append(keys, v.soft[i].key)
	}
	for _, m := range v.met() {
		for _, b := range m.bonds {
			keys = append(keys, b.key)
		}
	}
	slices.SortFunc(keys, func(a, b *key) int { return strings.Compare(a.name, b.name) })
	return slices.Compact(keys)
}

// Form returns a number that changes when nodes that were one group may be so no more.
func (v *View) Form() uint64 {
	v.byKeys()
	return v.forms
}

// Group returns the group of nodes, to which the view says the same; 0: the node has no row.
func (v *View) Group(n *Node) int32 {
	g := v.byKeys()
	if n.at < len(g.of) {
		return g.of[n.at]
	}
	return 0
}

// Rate says what Judge and Pull say in numbers.
type Rate struct {
	Refused int64
	Pull    int64   // of a weight
	Skew    float64 // of a pod more
}

// Points returns the number of a node.
func (r *Rate) Points(pull int64, skew float64) int64 { return r.Pull*pull - int64(r.Skew*skew) }

// rated is what a view's points were found from.
type rated struct {
	in           *grouping
	clock        uint64
	shape, moved uint64
	read         int // how far the log was read
	limits       []int64
	first        bool
}

// Groups returns the numbers of all groups, valid until it is called again. Where each group is one node alone, only
// those are asked again whose pods have changed.
func (v *View) Groups(r Rate) []int64 {
	g, was := v.byKeys(), &v.rated
	if was.in == g && was.clock == v.x.clock && len(v.points) == len(g.first) {
		return v.points
	}
	if v.goOn(g) {
		for _, n := range v.x.log[was.read-v.x.logged:] {
			if n.at == 0 {
				continue
			}
			v.points[g.of[n.at]] = r.Refused
			if v.Judge(n) == Fits {
				v.points[g.of[n.at]] = r.Points(v.Pull(n))
			}
		}
	} else {
		v.rateAll(g, r)
	}
	was.in, was.clock, was.shape, was.moved, was.read = g, v.x.clock, v.x.shape, v.x.moved, v.x.logged+len(v.x.log)
	return v.points
}

// goOn reports whether nothing has changed but pods of nodes that the log names, and notes what else there is.
func (v *View) goOn(g *grouping) bool {
	was, first := &v.rated, v.first()
	same := was.in == g && g.lone && was.shape == v.x.shape && was.moved == v.x.moved && was.read >= v.x.logged && was.first == first && len(v.points) == len(g.first)
	was.first = first
	was.limits = slices.Grow(was.limits, len(v.hard))[:len(v.hard)]
	for i := range v.hard {
		limit := v.hard[i].minimum()
		same = same && was.limits[i] == limit
		was.limits[i] = limit
	}
	return same
}

func (v *View) rateAll(g *grouping, r Rate) {
	v.Prepare()
	v.points = slices.Grow(v.points[:0], len(g.first))[:len(g.first)]
	for i, n := range g.first {
		v.points[i] = r.Refused
		if n == nil {
			continue
		}
		if verdict, pull, skew := v.Ask(n); verdict == Fits {
			v.points[i] = r.Points(pull, skew)
		}
	}
}
