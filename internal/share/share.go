package share

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// Tree is the tenants of a cluster. Nobody is taken out of it: make a new one now and then.
type Tree struct {
	total object.Demand
	root  *Node
	nodes map[string]*Node
	stale bool // the total has changed: shares and orders are those of another
}

// Node is a tenant.
type Node struct {
	Of any // what the caller keeps with it

	tree   *Tree
	path   string
	parent *Node
	weight float64

	own, used object.Demand // used has what its children use too
	count     int           // of allocations, its children's too
	ownCount  int
	share     float64 // of used, by weight
	ownShare  float64 // of own
	wants     bool
	wanting   int // how many want, itself and below
	all       []*Node
	kids      []*Node // of all those where somebody wants, in order
	listed    bool    // it is in the parent's kids
}

// New returns a tree without tenants.
func New() *Tree {
	t := &Tree{nodes: map[string]*Node{}}
	t.root = &Node{tree: t, weight: 1}
	return t
}

// At returns the tenant of a path, whose parts have "/" between them.
func (t *Tree) At(path string) *Node {
	n := t.nodes[path]
	if n != nil {
		return n
	}
	parent := t.root
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		parent = t.At(path[:i])
	}
	n = &Node{tree: t, path: path, parent: parent, weight: 1}
	parent.all = append(parent.all, n)
	t.nodes[path] = n
	return n
}

// Find returns the tenant of a path; nil: nobody asked for it yet.
func (t *Tree) Find(path string) *Node { return t.nodes[path] }

// SetTotal says what the cluster has.
func (t *Tree) SetTotal(total object.Demand) {
	if !t.total.Equal(total) {
		t.total, t.stale = total, true
	}
}

// Total returns what the cluster has.
func (t *Tree) Total() object.Demand { return t.total }

// Path returns where the tenant is.
func (n *Node) Path() string { return n.path }

// Parent returns the tenant above; nil: there is none.
func (n *Node) Parent() *Node {
	if n.parent == n.tree.root {
		return nil
	}
	return n.parent
}

// Used returns what the tenant and those below it have. Shared; do not change.
func (n *Node) Used() object.Demand { return n.used }

// Share returns the tenant's weighted dominant share, those below it included.
func (n *Node) Share() float64 {
	n.tree.refresh()
	return n.share
}

// SetWeight says how much the tenant counts beside its siblings; what is not positive is 1.
func (n *Node) SetWeight(w float64) {
	if !(w > 0) {
		w = 1
	}
	if n.weight != w {
		n.weight, n.tree.stale = w, true
	}
}

// Charge books one allocation to the tenant (sign 1), or takes it back (-1).
func (n *Node) Charge(d object.Demand, sign int64) {
	n.own, n.ownCount = Plus(n.own, d, sign), n.ownCount+int(sign)
	t := n.tree
	if !t.stale {
		n.ownShare = t.dominant(n.own)
	}
	for m := n; m != t.root; m = m.parent {
		if t.stale {
			m.used, m.count = Plus(m.used, d, sign), m.count+int(sign)
			continue
		}
		was := m.place()
		m.used, m.count = Plus(m.used, d, sign), m.count+int(sign)
		m.share = t.dominant(m.used) / m.weight
		m.settle(was)
	}
}

// Want says whether the tenant itself waits for more.
func (n *Node) Want(yes bool) {
	if n.wants == yes {
		return
	}
	by := 1
	if n.wants = yes; !yes {
		by = -1
	}
	n.tree.refresh()
	for m := n; m != nil; m = m.parent {
		m.wanting += by
		if m.parent == nil {
			break
		}
		switch kids := m.parent.kids; {
		case m.wanting > 0 && !m.listed:
			i, _ := slices.BinarySearchFunc(kids, m, (*Node).compare)
			m.parent.kids, m.listed = slices.Insert(kids, i, m), true
		case m.wanting == 0 && m.listed:
			i := m.place()
			m.parent.kids, m.listed = slices.Delete(kids, i, i+1), false
		}
	}
}

// Wants reports whether the tenant itself waits for more.
func (n *Node) Wants() bool { return n.wants }

// compare orders children of one tenant.
func (n *Node) compare(o *Node) int {
	return cmp.Or(cmp.Compare(n.share, o.share), cmp.Compare(n.count, o.count), strings.Compare(n.path, o.path))
}

// place returns where the node is among its siblings, -1 where it is not among them.
func (n *Node) place() int {
	if !n.listed {
		return -1
	}
	i, _ := slices.BinarySearchFunc(n.parent.kids, n, (*Node).compare)
	return i
}

// settle moves the node, whose share has changed, to its place among its siblings.
func (n *Node) settle(was int) {
	if was < 0 {
		return
	}
	kids := n.parent.kids
	switch {
	case was > 0 && n.compare(kids[was-1]) < 0:
		to, _ := slices.BinarySearchFunc(kids[:was], n, (*Node).compare)
		copy(kids[to+1:was+1], kids[to:was])
		kids[to] = n
	case was < len(kids)-1 && n.compare(kids[was+1]) > 0:
		to, _ := slices.BinarySearchFunc(kids[was+1:], n, (*Node).compare)
		copy(kids[was:was+to], kids[was+1:was+1+to])
		kids[was+to] = n
	}
}

// refresh counts all shares again where the total or a weight has changed.
func (t *Tree) refresh() {
	if !t.stale {
		return
	}
	t.stale = false
	for _, n := range t.nodes {
		n.share, n.ownShare = t.dominant(n.used)/n.weight, t.dominant(n.own)
	}
	for _, n := range t.nodes {
		if len(n.kids) > 1 {
			slices.SortFunc(n.kids, (*Node).compare)
		}
	}
	slices.SortFunc(t.root.kids, (*Node).compare)
}

// dominant returns the largest part that d is of any resource.
func (t *Tree) dominant(d object.Demand) float64 {
	s := max(part(d.CPUMilli, t.total.CPUMilli), part(d.MemoryBytes, t.total.MemoryBytes), part(d.EphemeralBytes, t.total.EphemeralBytes))
	for name, n := range d.Extended {
		s = max(s, part(n, t.total.Extended[name]))
	}
	return s
}

func part(n, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// Order returns the tenants that want, the lowest first. The order is that of the moment when
// the walk comes to them: who charges ends the walk.
func (t *Tree) Order() iter.Seq[*Node] {
	t.refresh()
	return func(yield func(*Node) bool) { t.root.walk(yield) }
}

// Lowest returns who wants and stands lowest; nil: nobody wants.
func (t *Tree) Lowest() *Node {
	for n := range t.Order() {
		return n
	}
	return nil
}

// walk yields who wants in the node's subtree; the node itself stands among its children.
func (n *Node) walk(yield func(*Node) bool) bool {
	mine := n.wants
	for _, k := range n.kids {
		if mine && n.ownFirst(k) {
			if mine = false; !yield(n) {
				return false
			}
		}
		if !k.walk(yield) {
			return false
		}
	}
	return !mine || yield(n)
}

// ownFirst reports whether the node's own share stands before a child of its.
func (n *Node) ownFirst(k *Node) bool {
	return cmp.Or(cmp.Compare(n.ownShare, k.share), cmp.Compare(n.ownCount, k.count)) <= 0
}

// Below reports whether a stands lower than b does without what less takes from it, by the
// shares at the place in the tree where their ways part.
func Below(a, b *Node, less object.Demand) bool {
	t := a.tree
	t.refresh()
	if a == b {
		return false
	}
	x, y := apart(a, b)
	return x.shareAs(a, object.Demand{}) < y.shareAs(b, less)
}

// apart returns the siblings that a and b are or are below; one that is above the other stands for
// itself.
func apart(a, b *Node) (x, y *Node) {
	x, y = a, b
	depthX, depthY := x.depth(), y.depth()
	for depthX > depthY && x.parent != y {
		x, depthX = x.parent, depthX-1
	}
	for depthY > depthX && y.parent != x {
		y, depthY = y.parent, depthY-1
	}
	for x.parent != y.parent && x.parent != y && y.parent != x {
		x, y = x.parent, y.parent
	}
	return x, y
}

func (n *Node) depth() (d int) {
	for m := n; m.parent != nil; m = m.parent {
		d++
	}
	return d
}

// shareAs returns the share with which the node stands for leaf, itself or one below it, less
// something. A leaf that has others below it stands with its own.
func (n *Node) shareAs(leaf *Node, less object.Demand) float64 {
	t, used, weight := n.tree, n.used, n.weight
	if n == leaf && len(n.all) > 0 {
		used, weight = n.own, 1 // as Mesos' virtual leaf
	}
	return t.dominant(Plus(used, less, -1)) / weight
}

// Amount returns how much of a resource a demand has, as the scheduler counts it.
func Amount(d object.Demand, name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceCPU:
		return d.CPUMilli
	case corev1.ResourceMemory:
		return d.MemoryBytes
	case corev1.ResourceEphemeralStorage:
		return d.EphemeralBytes
	}
	return d.Extended[name]
}

// Plus returns a and sign times b.
func Plus(a, b object.Demand, sign int64) object.Demand {
	a.CPUMilli += sign * b.CPUMilli
	a.MemoryBytes += sign * b.MemoryBytes
	a.EphemeralBytes += sign * b.EphemeralBytes
	if len(b.Extended) == 0 {
		return a
	}
	more := make(map[corev1.ResourceName]int64, len(a.Extended)+len(b.Extended))
	for name, n := range a.Extended {
		more[name] = n
	}
	for name, n := range b.Extended {
		if more[name] += sign * n; more[name] == 0 {
			delete(more, name)
		}
	}
	a.Extended = more
	return a
}
