package daemonset

import (
	"cmp"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// crew is what the loop knows of a set between steps: its pods by node, and what
// they come to. A step looks at the nodes that were touched since, so that a tick
// costs what changed.
type crew struct {
	uid        types.UID
	generation int64
	chooser    *chooser
	selector   labels.Selector
	spots      map[string]*spot
	touched    map[string]bool      // nodes to look at
	waiting    map[string]time.Time // nodes to look at when the time comes
	adopts     map[object.Key]bool  // pods that it selects and that had no controller when last seen
	fresh      map[string]bool      // hashes of the present template, on pods
	sum        counts               // over all spots
}

// spot is a node and the set's pods there.
type spot struct {
	node    string
	missing bool // there is no such node
	verdict
	pods  []pod  // oldest first
	count counts // as last added to the crew's sum
}

// pod is a pod of the set.
type pod struct {
	key  object.Key
	head *tables.PodHead
}

// counts are nodes, and pods of an old revision that are to stay for now.
type counts struct{ desired, current, misplaced, updated, ready, available, old int32 }

func (c *counts) add(d counts, sign int32) {
	c.desired += sign * d.desired
	c.current += sign * d.current
	c.misplaced += sign * d.misplaced
	c.updated += sign * d.updated
	c.ready += sign * d.ready
	c.available += sign * d.available
	c.old += sign * d.old
}

// newCrew reads the set's pods and judges every node.
func newCrew(l *Loop, tx *store.Tx, d *appsv1.DaemonSet) *crew {
	c := &crew{
		uid: d.UID, generation: d.Generation, chooser: newChooser(d), selector: selector(d), spots: map[string]*spot{},
		touched: map[string]bool{}, waiting: map[string]time.Time{}, adopts: map[object.Key]bool{},
	}
	for n := range tables.Nodes.All(tx) {
		c.spots[n.Name] = &spot{node: n.Name, verdict: c.chooser.look(n)}
		c.touched[n.Name] = true
	}
	for row := range tables.Pods.By(tx, tables.OwnerIndex, string(d.UID)) {
		if row.Head().Owner == d.UID {
			l.place(tx, c, row)
		}
	}
	for key := range l.orphans[d.Namespace] {
		if row, ok := tables.Pods.Row(tx, key); ok && c.selector.Matches(labels.Set(row.Head().Labels)) {
			c.adopts[key] = true
		}
	}
	return c
}

// at returns the spot of a node, a new one if there is none.
func (c *crew) at(tx *store.Tx, node string) *spot {
	c.touched[node] = true
	sp := c.spots[node]
	if sp == nil {
		sp = &spot{node: node, missing: true}
		c.spots[node] = sp
		c.see(tx, node)
	}
	return sp
}

// see takes in a node that came, changed or went.
func (c *crew) see(tx *store.Tx, node string) {
	n, ok := tables.Nodes.Get(tx, object.Key{Name: node})
	if !ok && c.spots[node] == nil {
		return
	}
	c.touched[node] = true
	if c.spots[node] == nil {
		c.spots[node] = &spot{node: node}
	}
	sp := c.spots[node]
	if sp.missing = !ok; ok {
		sp.verdict = c.chooser.look(n)
	} else {
		sp.verdict = verdict{}
	}
}

// touchAll makes the next step look at every node.
func (c *crew) touchAll() {
	for node := range c.spots {
		c.touched[node] = true
	}
}

// put adds a pod to a spot, or replaces it.
func (sp *spot) put(p pod) {
	sp.remove(p.key)
	i, _ := slices.BinarySearchFunc(sp.pods, p, older)
	sp.pods = slices.Insert(sp.pods, i, p)
}

func (sp *spot) remove(key object.Key) {
	sp.pods = slices.DeleteFunc(sp.pods, func(p pod) bool { return p.key == key })
}

func older(a, b pod) int {
	return cmp.Or(a.head.Created.Compare(b.head.Created), a.key.Compare(b.key))
}

// due returns the spots to look at, by node.
func (c *crew) due(now time.Time) []*spot {
	for node, at := range c.waiting {
		if !now.Before(at) {
			c.touched[node] = true
		}
	}
	var list []*spot
	for _, node := range slices.Sorted(maps.Keys(c.touched)) {
		if sp := c.spots[node]; sp != nil {
			list = append(list, sp)
		} else {
			delete(c.touched, node)
		}
	}
	return list
}

// all returns every spot, by node.
func (c *crew) all() []*spot {
	list := make([]*spot, 0, len(c.spots))
	for _, node := range slices.Sorted(maps.Keys(c.spots)) {
		list = append(list, c.spots[node])
	}
	return list
}
