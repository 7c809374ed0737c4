package neighbours

import (
	"iter"
	"maps"
	"slices"
)

// Index counts pods by what others ask of them. New makes one.
type Index struct {
	awake     bool
	stale     bool // pods are to be counted anew
	clock     uint64
	moved     uint64 // the clock when domains or namespaces last changed
	better    uint64 // the clock when a pod may last have been let in somewhere
	trying    int
	log       []*Node // whose pods were counted anew, in order; logged is how many were dropped from its front
	logged    int
	matches   map[string]*match
	hooks     map[hook][]*match
	following []*match // that namespaces' labels decide about
	guises    map[uint64][]*Guise
	spaces    map[string]*space
	keys      map[string]*key
	scopes    map[string]*scope
	groupings map[string]*grouping
	shape     uint64 // moves when views may have to look at other keys
	asks      map[string]*Asks
	nodes     []*Node // by place; the first is nobody's
	free      []int   // places
	own       map[string]bool
	sums      sums
	size      int
	small     int    // size after the last sweep
	swept     uint64 // number of sweeps
	worn      uint64 // generation of guises
}

// New returns an index of nothing. Labels with the keys own tell pods of one maker apart; they count only
// once a selector mentions them.
func New(own ...string) *Index {
	x := &Index{
		matches: map[string]*match{}, hooks: map[hook][]*match{}, guises: map[uint64][]*Guise{}, spaces: map[string]*space{},
		groupings: map[string]*grouping{}, keys: map[string]*key{}, scopes: map[string]*scope{}, asks: map[string]*Asks{}, nodes: []*Node{nil}, own: map[string]bool{}, swept: 1,
	}
	for _, k := range own {
		x.own[k] = true
	}
	return x
}

// Pod is one pod's place in an Index.
type Pod struct {
	index           *Index
	namespace       string
	labels          map[string]string
	guise           *Guise // nil: not asked for yet
	asks            *Asks  // nil: nothing
	node            *Node  // nil: it is not counted
	onNode, inGuise int32
	counted         bool
	leaving         bool
}

// Of returns a pod that is not counted yet. Its labels must not change any more.
func (x *Index) Of(namespace string, labels map[string]string, asks *Asks) Pod {
	return Pod{index: x, namespace: namespace, labels: labels, asks: asks}
}

// Skips reports whether no selector can tell pods apart by the label.
func (x *Index) Skips(key string) bool { return !x.awake || x.own[key] }

// Awake reports whether somebody asks anything of others.
func (x *Index) Awake() bool { return x.awake }

func (x *Index) mention(key string) {
	if x.own[key] {
		delete(x.own, key)
		x.stale = true
	}
}

func (x *Index) wake() {
	if !x.awake {
		x.awake, x.stale = true, true
	}
}

// let notes that what is counted may let in a pod that it did not.
func (x *Index) let(at *uint64) {
	if x.trying == 0 {
		*at, x.better = x.clock, x.clock
	}
}

// Better returns a number that has moved when there may be a view that lets in a pod that it refused.
func (x *Index) Better() uint64 { return max(x.better, x.moved) }

// Try says that pods are added and removed to see what would be, and will be put back: nobody need look again for that.
func (x *Index) Try(is bool) {
	if is {
		x.trying++
	} else {
		x.trying--
	}
}

// touch notes that something has changed.
func (x *Index) touch() { x.clock++ }

// Stale reports whether Recount is to be called before anything else is asked: there is a first term, or a
// selector mentions what was taken for nothing.
func (x *Index) Stale() bool { return x.stale }

// Recount counts all pods anew that have been added. Of labels that
// were taken for nothing, classes of pods have to be told apart again.
func (x *Index) Recount(pods iter.Seq[*Pod]) {
	x.stale = false
	x.worn++
	x.shape++
	for p := range pods {
		if p.counted {
			x.uncount(p)
		}
		p.guise = nil
	}
	x.guises = map[uint64][]*Guise{}
	for _, s := range x.spaces {
		s.guises, s.pairs = map[*Guise]bool{}, map[pair]map[*Guise]bool{}
	}
	for _, m := range x.matches {
		m.guises = map[*Guise]bool{}
	}
	for p := range pods {
		if p.node != nil {
			x.count(p)
		}
	}
	x.touch()
	x.moved = x.clock
}

// Relabel has the pod be one of other labels, which must not change any more.
func (x *Index) Relabel(p *Pod, labels map[string]string) {
	if maps.Equal(p.labels, labels) {
		p.labels = labels // the same, kept once
		return
	}
	n := p.node
	x.Remove(p)
	if p.labels, p.guise = labels, nil; n != nil {
		x.Add(p, n)
	}
}

// Add counts the pod on the node.
func (x *Index) Add(p *Pod, n *Node) {
	p.node = n
	if x.awake && !x.stale {
		x.count(p)
	}
}

// Remove counts it no more.
func (x *Index) Remove(p *Pod) {
	if p.node == nil {
		return
	}
	if p.counted {
		x.uncount(p)
	}
	p.node = nil
}

// Leave notes that the pod is on its way from its node: spreads count it no more.
func (x *Index) Leave(p *Pod) {
	if p.leaving {
		return
	}
	if !p.counted {
		p.leaving = true
		return
	}
	x.apply(p, -1)
	p.leaving = true
	x.apply(p, 1)
}

func (x *Index) count(p *Pod) {
	if p.guise == nil {
		p.guise = x.Guise(p.namespace, p.labels)
	}
	p.inGuise = int32(len(p.guise.pods))
	p.guise.pods = append(p.guise.pods, p)
	p.node.add(p)
	p.counted = true
	x.apply(p, 1)
}

func (x *Index) uncount(p *Pod) {
	x.apply(p, -1)
	p.node.remove(p)
	pods, last := p.guise.pods, len(p.guise.pods)-1
	pods[p.inGuise], pods[last].inGuise = pods[last], p.inGuise
	pods[last] = nil
	p.guise.pods = pods[:last]
	p.counted = false
}

// logMax bounds the log; views that have not read what is dropped look at every group again.
const logMax = 4096

// apply moves all numbers that the pod is part of.
func (x *Index) apply(p *Pod, sign int64) {
	x.clock++
	if len(x.log) >= logMax {
		x.logged += len(x.log) / 2
		x.log = append(x.log[:0], x.log[len(x.log)/2:]...)
	}
	x.log = append(x.log, p.node)
	for _, m := range p.guise.matches {
		for _, c := range m.counters {
			c.count(p, sign)
		}
	}
	if p.asks != nil {
		for _, b := range p.asks.bonds {
			b.count(p, sign)
		}
	}
}

// sweepMin is how much may be remembered in vain.
const sweepMin = 8192

// Sweep forgets what nobody asks for any more, if that is much. Views that were made before
// are void; pods that are to keep what they ask, and have no node, are given.
func (x *Index) Sweep(keep iter.Seq[*Pod]) bool {
	if x.size < sweepMin+2*x.small {
		return false
	}
	x.swept++
	x.worn++
	x.shape++
	for p := range keep {
		if p.asks != nil {
			p.asks.keep(x.swept)
		}
		if !p.counted {
			p.guise = nil
		}
	}
	for text, a := range x.asks {
		if a.holds() {
			a.keep(x.swept)
		} else if a.mark != x.swept {
			delete(x.asks, text)
		}
	}
	for text, m := range x.matches {
		m.counters = nil // views are void
		m.bonds = slices.DeleteFunc(m.bonds, func(b *bond) bool { return b.mark != x.swept })
		if len(m.bonds) == 0 {
			delete(x.matches, text)
		}
	}
	x.scopes, x.groupings = map[string]*scope{}, map[string]*grouping{}
	x.forgetMatches()
	for _, list := range x.guises {
		for _, g := range slices.Clone(list) {
			if len(g.pods) == 0 {
				x.drop(g)
			}
		}
	}
	x.size = len(x.asks)
	for _, m := range x.matches {
		x.size += 1 + len(m.bonds)
	}
	for _, list := range x.guises {
		x.size += len(list)
	}
	x.small = x.size
	x.touch()
	return true
}

// forgetMatches takes matches that are gone, and keys that nobody counts by, out of everything that
// leads to them.
func (x *Index) forgetMatches() {
	gone := func(m *match) bool { return x.matches[m.text] != m }
	for h, list := range x.hooks {
		if x.hooks[h] = slices.DeleteFunc(list, gone); len(x.hooks[h]) == 0 {
			delete(x.hooks, h)
		}
	}
	x.following = slices.DeleteFunc(x.following, gone)
	for _, list := range x.guises {
		for _, g := range list {
			g.matches = slices.DeleteFunc(g.matches, gone)
		}
	}
	used := map[*key]bool{}
	for _, m := range x.matches {
		for _, b := range m.bonds {
			used[b.key] = true
		}
	}
	for name, k := range x.keys {
		if !used[k] {
			delete(x.keys, name)
		}
	}
	for name, s := range x.spaces {
		if len(s.guises) == 0 && len(s.labels) == 0 {
			delete(x.spaces, name)
		}
	}
}
