package schedule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"trireme/internal/object/swarm"
)

// setPlacement reads what the pods ask for by a swarm placement (object/swarm). A class that is
// spread is a tree: its leaves are classes of the nodes of one group each, and the leaf
// with the fewest pods is asked first.
func (cl *class) setPlacement() {
	p, err := swarm.ReadPlacement(cl.pod.Annotations[swarm.PlacementAnnotation])
	if cl.placement = p; err != nil {
		cl.malformed = err.Error()
	}
	if p == nil || len(p.Spread) == 0 || err != nil {
		return
	}
	cl.leaves = map[string]*class{}
}

// filterPlacement keeps constraints and platforms.
func filterPlacement(c *class, n *node) []string {
	switch {
	case c.malformed != "":
		return []string{"node(s) could not be judged: " + c.malformed}
	case !c.placement.Fits(n.row):
		return []string{"node(s) didn't meet the placement constraints"}
	case !c.placement.Runs(n.row):
		return []string{"node(s) were of another platform"}
	}
	return nil
}

// filterOwners keeps how many pods of one owner a node takes.
func filterOwners(c *class, n *node) []string {
	if c.placement == nil || c.placement.MaxPerNode == 0 || c.cell.kin[c.owner][n.slot] < c.placement.MaxPerNode {
		return nil
	}
	return []string{"node(s) had as many replicas as a node may have"}
}

// groupOf returns the leaf that the node is of.
func (cl *class) groupOf(n *node) string {
	if n.row == nil {
		return ""
	}
	return cl.placement.Group(n.row, len(cl.placement.Spread))
}

// leaf returns the class of a group's nodes.
func (cl *class) leaf(c *cell, group string) *class {
	l := cl.leaves[group]
	if l == nil {
		part := *cl
		l = &part
		l.leaves, l.group, l.whole, l.heap, l.looks, l.full = nil, group, cl, nil, 0, false
		l.mark = c.mark()
		cl.leaves[group] = l
	}
	return l
}

// bestSpread is best of a class that is spread: level by level, the group with the fewest
// pods of the owner comes first (swarmkit, placement preferences).
func (cl *class) bestSpread(c *cell) *node {
	if cl.full && cl.mark == c.mark() {
		return nil
	}
	levels := len(cl.placement.Spread)
	counts, groups, kin := map[string]int64{}, map[string]bool{}, c.kin[cl.owner]
	for _, n := range c.list {
		if n == nil || n.row == nil {
			continue
		}
		groups[cl.groupOf(n)] = true
		for i := 1; i <= levels; i++ {
			counts[cl.placement.Group(n.row, i)] += kin[n.slot]
		}
	}
	order := slices.SortedFunc(maps.Keys(groups), func(a, b string) int { return compareGroups(a, b, counts) })
	open := cl.placement.Open(order, counts)
	for _, group := range open {
		if n := cl.leaf(c, group).best(c); n != nil {
			return n
		}
	}
	cl.mark, cl.full, cl.why = c.mark(), true, message(cl, c)
	if len(open) < len(order) {
		cl.why += fmt.Sprintf(" %d of %d groups of nodes had as many replicas as a group may have.", len(order)-len(open), len(order))
	}
	return nil
}

// compareGroups orders groups by the counts of what they begin with, level by level, then
// by name.
func compareGroups(a, b string, counts map[string]int64) int {
	for at := 0; ; {
		i, j := strings.IndexByte(a[at:], '\n'), strings.IndexByte(b[at:], '\n')
		if i < 0 || j < 0 {
			return strings.Compare(a, b)
		}
		p, q := a[:at+i+1], b[:at+j+1]
		if p != q {
			if d := counts[p] - counts[q]; d != 0 {
				return int(d)
			}
			return strings.Compare(p, q)
		}
		at += i + 1
	}
}
