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
	"trireme/internal/orchestrate/own"
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
	crew *crew
	next time.Time // when to look again; zero: when something changes

	history history.History
	hash    string // of the present template, on pods
	wrote   int    // pods
	refused bool   // a pod could not be made: what is left waits
}

// run brings the set one step nearer to what it asks for and writes its status.
func (s *step) run() {
	c := s.crew
	if s.set.DeletionTimestamp != nil || !c.selector.Matches(labels.Set(s.set.Spec.Template.Labels)) {
		s.count(c.due(s.tx.Now()))
		s.writeStatus()
		return
	}
	s.history = s.loop.book.Open(s.tx, history.Subject{
		Object: s.set, Selector: c.selector, Template: &s.set.Spec.Template, Collisions: s.set.Status.CollisionCount,
		HashLabel: appsv1.ControllerRevisionHashLabelKey,
	})
	if s.history.Update == nil {
		s.writeStatus()
		return
	}
	s.hash = hashOf(s.history.Update)
	s.freshen()
	if s.adopt() {
		return // the next step has them
	}
	due := c.due(s.tx.Now())
	s.count(due)
	s.look(due)
	if s.wrote == 0 && c.sum.old > 0 {
		s.renew() // what was written changes the counts: the next step
	}
	s.writeStatus()
	s.history.Prune(s.tx, s.live(), s.set.Spec.RevisionHistoryLimit)
}

// hashOf returns what a revision's pods bear in the label controller-revision-hash.
func hashOf(r *appsv1.ControllerRevision) string {
	return cmp.Or(r.Labels[appsv1.ControllerRevisionHashLabelKey], r.Name)
}

// freshen notes which pods are of the present template; where that is news, every
// node is looked at.
func (s *step) freshen() {
	fresh := map[string]bool{}
	for _, r := range s.history.Same {
		fresh[hashOf(r)] = true
	}
	if !maps.Equal(fresh, s.crew.fresh) {
		s.crew.fresh = fresh
		s.crew.touchAll()
	}
}

func (s *step) wake(at time.Time) {
	if s.next.IsZero() || at.Before(s.next) {
		s.next = at
	}
}

// adopt takes the pods that the set selects and that are nobody's, and reports
// whether there were any.
func (s *step) adopt() (any bool) {
	for _, key := range object.SortedKeys(s.crew.adopts) {
		delete(s.crew.adopts, key)
		any = s.claim().Adopt(s.tx, key) || any
	}
	return any
}

// release lets a pod go that the set does not select any more.
func (s *step) release(p pod) {
	if s.claim().Release(s.tx, p.key) {
		s.wrote++
	}
}

func (s *step) claim() own.Claim {
	return own.Claim{
		Owner:   object.ControllerRef(s.set, tables.DaemonSets.GVK()),
		Selects: func(h *tables.PodHead) bool { return s.crew.selector.Matches(labels.Set(h.Labels)) },
	}
}

// look cleans and fills the spots; those that it does not come to stay touched.
func (s *step) look(spots []*spot) {
	terminating := reap.Terminating(s.tx, s.key.Namespace)
	for _, sp := range spots {
		if s.full() {
			return
		}
		s.clean(sp)
		switch {
		case !sp.runs || len(sp.pods) > 0: // not even one that is ending may be there
		case terminating || s.refused:
			continue
		case !s.make(sp):
			s.refused = true
			continue
		}
		delete(s.crew.touched, sp.node)
	}
}

// full reports whether the step has written its share; the rest comes next.
func (s *step) full() bool {
	if s.wrote >= loop.StepWritesMax {
		s.loop.agenda.Mark(s.key)
		return true
	}
	return false
}

// clean deletes pods that are where they should not be, that have ended, or that
// are one too many.
func (s *step) clean(sp *spot) {
	var old, fresh []pod
	for _, p := range sp.pods {
		switch {
		case !s.crew.selector.Matches(labels.Set(p.head.Labels)):
			s.release(p)
		case p.head.Deleting:
		case sp.missing && p.head.Node != "": // podgc sees to those
		case !sp.keeps:
			s.end(p)
		case p.head.Ended():
			s.retire(sp, p)
		case s.isFresh(p):
			fresh = append(fresh, p)
		default:
			old = append(old, p)
		}
	}
	if s.policy(0).Surge == 0 { // two generations may not stand beside each other
		old, fresh = append(old, fresh...), nil
		slices.SortFunc(old, older)
	}
	for _, gen := range [][]pod{old, fresh} {
		for _, p := range gen[min(1, len(gen)):] {
			s.end(p)
		}
	}
}

// end deletes a pod as the API would.
func (s *step) end(p pod) {
	if reap.Delete(s.tx, tables.Pods, p.key, metav1.DeletePropagationBackground) {
		s.wrote++
		s.tell(corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: "+p.key.Name)
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
