// Package gang knows which pods are placed together, or not at all: those of a PodGroup whose policy is gang, until as many of
// them as its minCount says have a node. What has a node counts, what has succeeded too; pods beyond the minimum go alone.
//
// It keeps who waits and who has a node, by group, says what a group lacks, in which order the domains of a topology are
// tried, and writes what a PodGroup's status says. It places nobody: schedule does, in one step for all. It is pure and belongs to
// one goroutine; a group changes with its row and its pods, Changed tells of both.
//
// How to debug: `kubectl get podgroups -o yaml` has the reason, `trireme why POD` too.
package gang

import (
	"fmt"
	"maps"
	"slices"
	"time"

	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"

	"trireme/internal/object"
)

// Groups are all groups that have a row or pods.
type Groups struct {
	by      map[object.Key]*Group
	of      map[object.Key]*Group // by pod
	changed map[*Group]bool
	timed   map[*Group]bool // that are to be told when their time is over
}

// Group is one group.
type Group struct {
	Key      object.Key
	Min      int    // pods that go together; 0: each goes alone
	Topology string // the label of nodes whose value all are to share; empty: none

	known  bool // it has a row
	due    time.Time
	late   bool
	waits  map[object.Key]bool
	placed map[object.Key]string // nodes
}

// New returns no groups.
func New() *Groups {
	return &Groups{by: map[object.Key]*Group{}, of: map[object.Key]*Group{}, changed: map[*Group]bool{}, timed: map[*Group]bool{}}
}

func (s *Groups) group(key object.Key) *Group {
	g := s.by[key]
	if g == nil {
		g = &Group{Key: key, waits: map[object.Key]bool{}, placed: map[object.Key]string{}}
		s.by[key] = g
	}
	return g
}

// Set takes in a group's row; nil: it is gone.
func (s *Groups) Set(key object.Key, row *schedulingv1alpha3.PodGroup) {
	g := s.group(key)
	s.changed[g] = true
	delete(s.timed, g)
	g.known, g.Min, g.Topology, g.due, g.late = row != nil, 0, "", time.Time{}, false
	if row == nil {
		s.end(g)
		return
	}
	if p := row.Spec.SchedulingPolicy.Gang; p != nil {
		g.Min, g.Topology = int(p.MinCount), object.GangTopology(row)
	}
	if d, err := object.GangTimeout(row); err == nil && d > 0 {
		g.due = row.CreationTimestamp.Add(d)
		s.timed[g] = true
	}
}

// end forgets a group that has neither row nor pods.
func (s *Groups) end(g *Group) {
	if !g.known && len(g.waits)+len(g.placed) == 0 {
		delete(s.by, g.Key)
		delete(s.changed, g)
	}
}

// Wait takes in a pod of the group that waits for a node.
func (s *Groups) Wait(pod object.Key, group string) {
	g := s.group(object.Key{Namespace: pod.Namespace, Name: group})
	if s.of[pod] == g && g.waits[pod] {
		return
	}
	s.Drop(pod)
	s.of[pod], g.waits[pod], s.changed[g] = g, true, true
}

// Place takes in a pod of the group that has a node.
func (s *Groups) Place(pod object.Key, group, node string) {
	g := s.group(object.Key{Namespace: pod.Namespace, Name: group})
	if s.of[pod] == g && g.placed[pod] == node {
		return
	}
	s.Drop(pod)
	s.of[pod], g.placed[pod], s.changed[g] = g, node, true
}

// Drop forgets a pod.
func (s *Groups) Drop(pod object.Key) {
	g := s.of[pod]
	if g == nil {
		return
	}
	delete(s.of, pod)
	delete(g.waits, pod)
	delete(g.placed, pod)
	s.changed[g] = true
	s.end(g)
}

// Of returns the pod's group; nil: it has none.
func (s *Groups) Of(pod object.Key) *Group { return s.of[pod] }

// Changed returns, once, the groups that are not as they were, in order of their keys.
func (s *Groups) Changed() []*Group {
	if len(s.changed) == 0 {
		return nil
	}
	list := slices.SortedFunc(maps.Keys(s.changed), func(a, b *Group) int { return a.Key.Compare(b.Key) })
	clear(s.changed)
	return list
}

// Late returns, once, the groups that wait though their time is over, in order of their keys, and when it will be
// over for the next; zero: for none.
func (s *Groups) Late(now time.Time) (list []*Group, next time.Time) {
	for g := range s.timed {
		switch {
		case !g.Together():
		case !now.Before(g.due):
			g.late = true
			delete(s.timed, g)
			list = append(list, g)
		case next.IsZero() || g.due.Before(next):
			next = g.due
		}
	}
	slices.SortFunc(list, func(a, b *Group) int { return a.Key.Compare(b.Key) })
	return list, next
}

// Together reports whether pods of the group that wait are placed together: a minimum of them has no nodes yet, or
// nobody knows how many that are.
func (g *Group) Together() bool { return !g.known || len(g.placed) < g.Min }

// Gang reports whether the group has a row, which has a minimum.
func (g *Group) Gang() bool { return g.known && g.Min > 0 }

// Need returns how many pods have to be placed at once.
func (g *Group) Need() int { return max(0, g.Min-len(g.placed)) }

// Waiting returns the pods that wait, sorted.
func (g *Group) Waiting() []object.Key {
	return slices.SortedFunc(maps.Keys(g.waits), object.Key.Compare)
}

// Home returns the node of one of its pods, the same as long as none comes or goes; empty: none has one.
func (g *Group) Home() string {
	if len(g.placed) == 0 {
		return ""
	}
	return g.placed[slices.MinFunc(slices.Collect(maps.Keys(g.placed)), object.Key.Compare)]
}

// Lacks says why the group's pods are not even tried; empty: they may be.
func (g *Group) Lacks() string {
	switch all := len(g.waits) + len(g.placed); {
	case !g.known:
		return fmt.Sprintf("pod group %s does not exist", g.Key.Name)
	case all < g.Min:
		return fmt.Sprintf("gang %s: %d of %d pods exist", g.Key.Name, all, g.Min)
	}
	return ""
}

// Short says that fewer pods would fit than have to be placed at once, in the domain where most would, and why no more do.
func (g *Group) Short(fit int, domain, why string) string {
	where, there := "", ""
	if g.Topology != "" {
		where = " in one " + g.Topology
		if domain == "" {
			return fmt.Sprintf("gang %s needs %d pods placed together%s: no node has that label", g.Key.Name, g.Need(), where)
		}
		there = " in " + domain
	}
	return fmt.Sprintf("gang %s needs %d pods placed together%s, %d would fit%s: %s", g.Key.Name, g.Need(), where, fit, there, why)
}
