package schedule

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/schedule/advice"
	"trireme/internal/schedule/bounds"
	"trireme/internal/share"
)

// ways looks for the least that would have to change for a pod of a class to get a node that refuses it. What it costs does not grow with
// what the nodes have, and only a few nodes are asked in full.
type ways struct {
	room []short
	rows []*node // that refuse it for what their rows say
}

// short is a node that lacks room, and how many times the demand.
type short struct {
	node *node
	by   float64
}

const (
	shortMax = 3  // nodes that lack room
	rowsMax  = 16 // nodes whose rows are looked at
	stepsMax = 2  // changes of one node
)

// take takes in a node that refuses the class; row: because of what its row says.
func (h *ways) take(cl *class, n *node, row bool) {
	if row {
		if len(h.rows) < rowsMax {
			h.rows = append(h.rows, n)
		}
		return
	}
	s := short{n, n.Short(cl.demand)}
	if s.by <= 0 || len(h.room) == shortMax && h.room[shortMax-1].by <= s.by {
		return
	}
	at := len(h.room)
	for at > 0 && h.room[at-1].by > s.by {
		at--
	}
	if h.room = slices.Insert(h.room, at, s); len(h.room) > shortMax {
		h.room = h.room[:shortMax]
	}
}

// say returns what would let a pod of the class in, as a sentence; empty: nothing that is easily said.
func (h *ways) say(cl *class) string {
	var ways []string
	for _, s := range h.room {
		if way := cl.roomWay(s.node); way != "" {
			ways = append(ways, way)
			break
		}
	}
	best := []string(nil)
	for _, n := range h.rows {
		if steps := cl.rowWay(n); len(steps) > 0 && (best == nil || len(steps) < len(best)) {
			best = steps
		}
	}
	if best != nil {
		ways = append(ways, strings.Join(best, " and "))
	}
	if len(ways) == 0 {
		return ""
	}
	return "It would run " + strings.Join(ways, ", or ") + "."
}

// roomWay says how much more room would let the class onto the node; empty: room alone would not.
func (cl *class) roomWay(n *node) string {
	later := n.beside(cl.priority, object.Key{})
	for i := range rules {
		if r := &rules[i]; !r.resources && (len(r.refuses(cl, n)) > 0 || r.room && later != n && len(r.refuses(cl, later)) > 0) {
			return ""
		}
	}
	var parts []string
	for _, name := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(n.Lacks(cl.demand), later.Lacks(cl.demand))))) {
		if name == string(corev1.ResourcePods) {
			parts = append(parts, "one pod fewer")
			continue
		}
		name := corev1.ResourceName(name)
		want, free := share.Amount(cl.demand, name), min(share.Amount(n.Left(), name), share.Amount(later.Left(), name))
		parts = append(parts, bounds.Text(name, want-free)+" more "+string(name))
	}
	if len(parts) == 0 {
		return ""
	}
	return "with " + strings.Join(parts, " and ") + " on " + n.name
}

// rowWay says what of the node's row would have to be another for the class to be let in, in at most stepsMax steps; nil: that alone would not do.
func (cl *class) rowWay(n *node) (steps []string) {
	if n.row.DeletionTimestamp != nil || len(filterReady(cl, n)) > 0 || len(filterPlacement(cl, n)) > 0 {
		return nil
	}
	if len(filterSchedulable(cl, n)) > 0 {
		steps = append(steps, "with "+n.name+" uncordoned")
	}
	for i := range n.row.Spec.Taints {
		t := &n.row.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && t.Key != corev1.TaintNodeUnschedulable && !cl.tolerates(t) {
			steps = append(steps, "without taint "+t.ToString()+" on "+n.name)
		}
	}
	if len(filterAffinity(cl, n)) > 0 {
		labels := advice.Labels(cl.pod, n.row, stepsMax, func(next *corev1.Node) bool { return len(filterAffinity(cl, &node{row: next})) == 0 })
		if labels == nil {
			return nil
		}
		for _, k := range slices.Sorted(maps.Keys(labels)) {
			steps = append(steps, "with label "+k+"="+labels[k]+" on "+n.name)
		}
	}
	if len(steps) > stepsMax {
		return nil
	}
	later := n.beside(cl.priority, object.Key{})
	for i := range rules {
		if r := &rules[i]; !r.row && (len(r.refuses(cl, n)) > 0 || r.room && later != n && len(r.refuses(cl, later)) > 0) {
			return nil
		}
	}
	return steps
}
