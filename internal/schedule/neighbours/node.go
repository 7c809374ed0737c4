package neighbours

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Node is one node's place in an Index; the zero value is in none yet.
type Node struct {
	at   int // in the columns; 0: it has no row
	row  *corev1.Node
	pods []*Pod
}

// key is a topology key: a label of nodes whose values are the domains.
type key struct {
	name   string
	ids    map[string]int32 // of domains, by value
	values []string         // of domains, by id
	nodes  []int32          // by domain
	free   []int32          // domains without nodes
	dom    []int32          // by node: 0 where it has no such label
}

// of returns the node's domain, 0 for none.
func (k *key) of(n *Node) int32 {
	if n.at < len(k.dom) {
		return k.dom[n.at]
	}
	return 0
}

// key returns the topology key of that name.
func (x *Index) key(name string) *key {
	k := x.keys[name]
	if k == nil {
		k = &key{name: name, ids: map[string]int32{}, values: []string{""}, nodes: []int32{0}}
		x.keys[name] = k
		for _, n := range x.nodes {
			if n != nil && n.row != nil {
				k.set(n)
			}
		}
	}
	return k
}

// set notes which domain the node is in by its row.
func (k *key) set(n *Node) {
	value, has := "", false
	if n.row != nil {
		value, has = n.row.Labels[k.name]
	}
	old := k.of(n)
	if old != 0 && has && k.values[old] == value || old == 0 && !has {
		return
	}
	if old != 0 {
		if k.nodes[old]--; k.nodes[old] == 0 {
			delete(k.ids, k.values[old])
			k.free = append(k.free, old)
		}
	}
	id := int32(0)
	if has {
		id = k.domain(value)
		k.nodes[id]++
	}
	for len(k.dom) <= n.at {
		k.dom = append(k.dom, 0)
	}
	k.dom[n.at] = id
}

func (k *key) domain(value string) int32 {
	if id, ok := k.ids[value]; ok {
		return id
	}
	var id int32
	if last := len(k.free) - 1; last >= 0 {
		id, k.free = k.free[last], k.free[:last]
		k.values[id] = value
	} else {
		id = int32(len(k.values))
		k.values, k.nodes = append(k.values, value), append(k.nodes, 0)
	}
	k.ids[value] = id
	return id
}

// scope is the nodes that a spread counts: those that have all its keys and that its pods may run on.
type scope struct {
	text    string
	keys    []*key
	include func(*corev1.Node) bool // nil: all
	in      []bool                  // by node
	domains map[*key]*counts        // nodes of the scope by domain
	counts  []*counter
}

func (s *scope) has(n *Node) bool { return n.at < len(s.in) && s.in[n.at] }

// judge says whether the node is of the scope by its row.
func (s *scope) judge(n *Node) bool {
	if n.row == nil {
		return false
	}
	for _, k := range s.keys {
		if _, ok := n.row.Labels[k.name]; !ok {
			return false
		}
	}
	return s.include == nil || s.include(n.row)
}

func (s *scope) put(n *Node, in bool) {
	for len(s.in) <= n.at {
		s.in = append(s.in, false)
	}
	if s.in[n.at] = in; in {
		s.add(n, 1)
	}
}

// add counts the node itself in or out.
func (s *scope) add(n *Node, sign int64) {
	for k, c := range s.domains {
		c.add(k.of(n), sign)
	}
	for _, c := range s.counts {
		c.known = false
	}
}

// scope returns the scope of that text.
func (x *Index) scope(text string, keys []*key, include func(*corev1.Node) bool) *scope {
	s := x.scopes[text]
	if s == nil {
		s = &scope{text: text, keys: keys, include: include, domains: map[*key]*counts{}}
		for _, k := range keys {
			s.domains[k] = &counts{}
		}
		x.scopes[text] = s
		for _, n := range x.nodes {
			if n != nil && n.row != nil {
				s.put(n, s.judge(n))
			}
		}
	}
	return s
}

// SetNode takes in a node's row; nil: it is gone.
func (x *Index) SetNode(n *Node, row *corev1.Node) {
	if n.at == 0 && row == nil {
		return
	}
	if n.at == 0 {
		x.place(n)
	}
	if n.row != nil && row != nil && x.same(n, row) {
		n.row = row
		return
	}
	for _, p := range n.pods {
		x.apply(p, -1)
	}
	for _, s := range x.scopes {
		if s.has(n) {
			s.add(n, -1)
		}
	}
	n.row = row
	for _, k := range x.keys {
		k.set(n)
	}
	for _, s := range x.scopes {
		s.put(n, s.judge(n))
	}
	for _, p := range n.pods {
		x.apply(p, 1)
	}
	x.touch()
	x.moved = x.clock
	if row == nil {
		x.nodes[n.at], x.free = nil, append(x.free, n.at)
		n.at = 0
	}
}

// same reports whether the row changes nothing here.
func (x *Index) same(n *Node, row *corev1.Node) bool {
	for _, k := range x.keys {
		old, had := n.row.Labels[k.name]
		if now, has := row.Labels[k.name]; had != has || old != now {
			return false
		}
	}
	was := n.row
	n.row = row
	same := true
	for _, s := range x.scopes {
		same = same && s.judge(n) == s.has(n)
	}
	n.row = was
	return same
}

// place gives the node its place in the columns.
func (x *Index) place(n *Node) {
	if last := len(x.free) - 1; last >= 0 {
		n.at, x.free = x.free[last], x.free[:last]
		x.nodes[n.at] = n
		return
	}
	n.at = len(x.nodes)
	x.nodes = append(x.nodes, n)
}

// add and remove keep the pods of the node, in no order.
func (n *Node) add(p *Pod) {
	p.onNode = int32(len(n.pods))
	n.pods = append(n.pods, p)
}

func (n *Node) remove(p *Pod) {
	last := len(n.pods) - 1
	n.pods[p.onNode], n.pods[last].onNode = n.pods[last], p.onNode
	n.pods[last] = nil
	n.pods = slices.Delete(n.pods, last, last+1)
}
