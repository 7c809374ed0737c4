package daemonset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate/history"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// step is one look at one set.
type step struct {
	loop *Loop
	tx   *store.Tx
	set  *appsv1.DaemonSet // shared
	key  object.Key
	next time.Time // when to look again; zero: when something changes

	history history.History
	hash    string          // of the present template, on pods
	fresh   map[string]bool // hashes that mean the present template
	spots   []*spot         // by node
	wrote   int             // pods
}

// spot is a node and the set's pods there.
type spot struct {
	node    string
	missing bool // there is no such node
	verdict
	pods []pod // oldest first
}

// pod is a pod of the set.
type pod struct {
	key  object.Key
	head *tables.PodHead
}

// run brings the set one step nearer to what it asks for and writes its status.
func (s *step) run() {
	sel := selector(s.set)
	if s.set.DeletionTimestamp != nil || !sel.Matches(labels.Set(s.set.Spec.Template.Labels)) {
		s.take()
		s.writeStatus()
		return
	}
	s.claim(sel)
	s.history = s.loop.book.Open(s.tx, history.Subject{
		Object: s.set, Selector: sel, Template: &s.set.Spec.Template, Collisions: s.set.Status.CollisionCount,
		HashLabel: appsv1.ControllerRevisionHashLabelKey,
	})
	s.take()
	if s.history.Update != nil {
		s.hash = hashOf(s.history.Update)
		s.fresh = map[string]bool{}
		for _, r := range s.history.Same {
			s.fresh[hashOf(r)] = true
		}
		s.clean()
		if !reap.Terminating(s.tx, s.key.Namespace) {
			s.fill()
			s.renew()
		}
		s.history.Prune(s.tx, s.live(), s.set.Spec.RevisionHistoryLimit)
	}
	if s.wrote > 0 {
		s.spots = nil
		s.take()
	}
	s.writeStatus()
}

// hashOf returns what a revision's pods bear in the label controller-revision-hash.
func hashOf(r *appsv1.ControllerRevision) string {
	return cmp.Or(r.Labels[appsv1.ControllerRevisionHashLabelKey], r.Name)
}

func (s *step) wake(at time.Time) {
	if s.next.IsZero() || at.Before(s.next) {
		s.next = at
	}
}

// claim adopts the pods that the set selects and releases those it does not.
func (s *step) claim(sel labels.Selector) {
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(s.set.UID)) {
		if row.Head().Owner != s.set.UID || sel.Matches(labels.Set(row.Head().Labels)) {
			continue
		}
		next := row.Object().DeepCopy()
		next.OwnerReferences = slices.DeleteFunc(next.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == s.set.UID })
		tables.Pods.Put(s.tx, next)
	}
	for key := range s.loop.orphans[s.key.Namespace] {
		row, ok := tables.Pods.Row(s.tx, key)
		if !ok || row.Head().Deleting || row.Head().Owner != "" || !sel.Matches(labels.Set(row.Head().Labels)) {
			continue
		}
		next := row.Object().DeepCopy()
		next.OwnerReferences = append(next.OwnerReferences, object.ControllerRef(s.set, tables.DaemonSets.GVK()))
		tables.Pods.Put(s.tx, next)
		s.loop.owners[key] = s.set.UID // it may be gone before it is observed
	}
}

// take sorts the set's pods by node and judges every node.
func (s *step) take() {
	on := map[string][]pod{}
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(s.set.UID)) {
		h, key := row.Head(), row.Key()
		if h.Owner != s.set.UID {
			continue
		}
		node := h.Node
		if node == "" {
			if _, known := s.loop.targets[key]; !known {
				s.loop.targets[key] = pinned(row.Object()) // made or adopted in this step
			}
			node = s.loop.targets[key]
		}
		on[node] = append(on[node], pod{key, h})
	}
	c := s.loop.choosers[s.key]
	for n := range tables.Nodes.All(s.tx) {
		s.spots = append(s.spots, &spot{node: n.Name, verdict: c.judge(n), pods: on[n.Name]})
		delete(on, n.Name)
	}
	for _, node := range slices.Sorted(maps.Keys(on)) {
		s.spots = append(s.spots, &spot{node: node, missing: true, pods: on[node]})
	}
	for _, sp := range s.spots {
		slices.SortFunc(sp.pods, func(a, b pod) int { return cmp.Or(a.head.Created.Compare(b.head.Created), a.key.Compare(b.key)) })
	}
}

// full reports whether the step has written its share; the rest comes next.
func (s *step) full() bool {
	if s.wrote >= loop.StepWritesMax {
		s.loop.dirty[s.key] = true
		return true
	}
	return false
}

// clean deletes pods that are where they should not be, that have ended, or that
// are one too many.
func (s *step) clean() {
	for _, sp := range s.spots {
		var old, fresh []pod
		for _, p := range sp.pods {
			switch {
			case p.head.Deleting:
			case sp.missing && p.head.Node != "": // podgc sees to those
			case !sp.keeps:
				s.end(p)
			case p.head.Ended():
				s.retire(sp, p)
			case s.fresh[p.head.Labels[appsv1.ControllerRevisionHashLabelKey]]:
				fresh = append(fresh, p)
			default:
				old = append(old, p)
			}
		}
		if s.policy(0).Surge == 0 { // two generations may not stand beside each other
			all := append(old, fresh...)
			slices.SortFunc(all, func(a, b pod) int { return cmp.Or(a.head.Created.Compare(b.head.Created), a.key.Compare(b.key)) })
			old, fresh = all, nil
		}
		for _, gen := range [][]pod{old, fresh} {
			for _, p := range gen[min(1, len(gen)):] {
				s.end(p)
			}
		}
	}
}

// end deletes a pod as the API would.
func (s *step) end(p pod) {
	if s.full() {
		return
	}
	if reap.Delete(s.tx, tables.Pods, p.key, metav1.DeletePropagationBackground) {
		s.wrote++
		s.tell(corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: "+p.key.Name)
	}
}

// fill makes the pods of nodes that have none, not even one that is ending.
func (s *step) fill() {
	for _, sp := range s.spots {
		if sp.runs && len(sp.pods) == 0 && !s.full() && !s.make(sp) {
			return
		}
	}
}

func (s *step) tell(kind, reason, message string) {
	tell.About(s.tx, tables.DaemonSets, s.set, tell.Event{From: teller, Type: kind, Reason: reason, Message: message})
}

// teller is whom events come from, as Kubernetes names its controllers.
const teller = "daemonset-controller"

func (s *step) refuse(node string, err error) {
	s.wake(s.tx.Now().Add(retryAfter))
	tell.Once(s.tx, tables.DaemonSets, s.set, tell.Event{From: teller, Type: corev1.EventTypeWarning, Reason: "FailedCreate",
		Message: fmt.Sprintf("Error creating a pod for node %s: %v", node, err)})
}
