package statefulset

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"trireme/internal/object"
	"trireme/internal/orchestrate/history"
	"trireme/internal/orchestrate/own"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/rollout"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// step is one look at one set.
type step struct {
	loop *Loop
	tx   *store.Tx
	set  *appsv1.StatefulSet // shared
	key  object.Key
	next time.Time // when to look again; zero: when something changes

	history         history.History
	current, update *appsv1.ControllerRevision
	slots           []slot // of the ordinals asked for, lowest first
	condemned       []slot // pods of other ordinals, highest first
}

// slot is an ordinal and its pod.
type slot struct {
	ordinal   int
	key       object.Key
	head      *tables.PodHead // nil: there is none
	condemned bool
}

// run brings the set one step nearer to what it asks for and writes its status.
func (s *step) run() {
	sel := selector(s.set)
	if s.set.DeletionTimestamp != nil || !sel.Matches(labels.Set(s.set.Spec.Template.Labels)) {
		s.writeStatus()
		return
	}
	s.claim(sel)
	s.history = s.loop.book.Open(s.tx, history.Subject{
		Object: s.set, Selector: sel, Template: &s.set.Spec.Template, Collisions: s.set.Status.CollisionCount, HashLabel: "controller.kubernetes.io/hash",
	})
	s.update = s.history.Update
	if s.update == nil {
		s.writeStatus()
		return
	}
	if s.current = s.history.Find(s.set.Status.CurrentRevision); s.current == nil {
		s.current = s.update
	}
	s.take()
	if !reap.Terminating(s.tx, s.key.Namespace) {
		_ = s.fill() && s.shrink() && s.renew()
	}
	s.writeStatus()
	s.history.Prune(s.tx, s.live(), s.set.Spec.RevisionHistoryLimit)
}

func (s *step) wake(at time.Time) {
	if s.next.IsZero() || at.Before(s.next) {
		s.next = at
	}
}

// claim adopts the pods that bear the name of an ordinal and are selected, and
// releases those of the set that do not and are not.
func (s *step) claim(sel labels.Selector) {
	claim := own.Claim{
		Owner:   object.ControllerRef(s.set, tables.StatefulSets.GVK()),
		Selects: func(h *tables.PodHead) bool { return sel.Matches(labels.Set(h.Labels)) },
	}
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(s.set.UID)) {
		parent, _, ok := split(row.Key())
		if row.Head().Owner != s.set.UID || ok && parent == s.key && claim.Selects(row.Head()) {
			continue
		}
		claim.Release(s.tx, row.Key())
	}
	for _, key := range object.SortedKeys(s.loop.orphans[s.key]) {
		claim.Adopt(s.tx, key)
	}
}

func (s *step) start() int {
	if o := s.set.Spec.Ordinals; o != nil {
		return int(o.Start)
	}
	return 0
}

func (s *step) replicas() int {
	if r := s.set.Spec.Replicas; r != nil {
		return int(*r)
	}
	return 1
}

// ordered reports whether pods come and go one by one.
func (s *step) ordered() bool { return s.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement }

// take sorts the set's pods into slots and condemned ones.
func (s *step) take() {
	first, n := s.start(), s.replicas()
	for i := range n {
		s.slots = append(s.slots, slot{ordinal: first + i, key: s.podKey(first + i)})
	}
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(s.set.UID)) {
		_, ordinal, ok := split(row.Key())
		switch {
		case !ok || row.Head().Owner != s.set.UID:
		case ordinal >= first && ordinal < first+n:
			s.slots[ordinal-first].head = row.Head()
		default:
			s.condemned = append(s.condemned, slot{ordinal, row.Key(), row.Head(), true})
		}
	}
	slices.SortFunc(s.condemned, func(a, b slot) int { return cmp.Compare(b.ordinal, a.ordinal) })
}

func ready(h *tables.PodHead) bool { return h.Phase == corev1.PodRunning && h.Ready }

// available reports whether the pod has been ready for long enough, and sees to
// it that the set is looked at when it has.
func (s *step) available(h *tables.PodHead) bool {
	if !ready(h) {
		return false
	}
	at := h.ReadySince.Add(time.Duration(s.set.Spec.MinReadySeconds) * time.Second)
	if s.set.Spec.MinReadySeconds == 0 || !s.tx.Now().Before(at) {
		return true
	}
	s.wake(at)
	return false
}

func (s *step) healthy(h *tables.PodHead) bool { return !h.Deleting && s.available(h) }

// fill makes the pods that lack, lowest ordinal first, and reports whether the
// step may go on.
func (s *step) fill() bool {
	for i := range s.slots {
		sl := &s.slots[i]
		if sl.head != nil {
			s.keepIdentity(sl)
			s.keepClaims(sl)
		}
		switch {
		case sl.head == nil:
			s.make(sl)
		case sl.head.Ended():
			s.replace(sl)
		case s.healthy(sl.head):
			continue
		}
		if s.ordered() {
			return false
		}
	}
	return true
}

// replace deletes a pod that has ended, so that it is made anew.
func (s *step) replace(sl *slot) {
	pod, ok := tables.Pods.Get(s.tx, sl.key)
	if !ok || sl.head.Deleting {
		return
	}
	if at := sow.RetryAt(pod); s.tx.Now().Before(at) {
		s.wake(at)
		return
	}
	s.loop.failures[sl.key] = sow.FailuresBefore(pod, s.tx.Now())
	s.tell(corev1.EventTypeWarning, "RecreatingFailedPod", "StatefulSet "+s.key.String()+" is recreating failed Pod "+sl.key.Name)
	s.end(sl)
}

// end deletes a pod as the API would.
func (s *step) end(sl *slot) {
	if reap.Delete(s.tx, tables.Pods, sl.key, metav1.DeletePropagationBackground) {
		s.tell(corev1.EventTypeNormal, "SuccessfulDelete", "delete Pod "+sl.key.Name+" in StatefulSet "+s.key.Name+" successful")
	}
	sl.head = nil
	if row, ok := tables.Pods.Row(s.tx, sl.key); ok {
		sl.head = row.Head()
	}
}

// shrink deletes the pods beyond the range, highest ordinal first, and reports
// whether the step may go on.
func (s *step) shrink() bool {
	sick := -1 // the lowest ordinal that is not healthy: it may go at once
	for i := range s.condemned {
		s.keepClaims(&s.condemned[i])
		if !s.healthy(s.condemned[i].head) {
			sick = i
		}
	}
	for i := range s.condemned {
		sl := &s.condemned[i]
		switch {
		case sl.head.Deleting:
		case s.ordered() && i != sick && !sl.head.Ended() && !s.available(sl.head):
			return false
		default:
			s.end(sl)
		}
		if s.ordered() {
			return false
		}
	}
	return true
}

// renew deletes pods of an old revision as the engine says, so that they are made
// anew.
func (s *step) renew() bool {
	if s.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return true
	}
	places := make([]rollout.Place, len(s.slots))
	for i := range s.slots {
		places[len(places)-1-i] = s.place(&s.slots[i])
	}
	n := s.maxUnavailable()
	moves := rollout.Replace(rollout.Policy{Desired: len(places), Unavailable: n, Parallelism: n}, places)
	for _, i := range moves.End {
		s.end(&s.slots[len(places)-1-i])
	}
	return true
}

func (s *step) place(sl *slot) (p rollout.Place) {
	p.Held = sl.ordinal < s.start()+s.partition()
	stand := rollout.Coming
	switch {
	case sl.head == nil || sl.head.Ended():
		return p
	case sl.head.Deleting:
		stand = rollout.Ending
	case s.available(sl.head):
		stand = rollout.Available
	}
	if sl.head.Labels[appsv1.StatefulSetRevisionLabel] == s.update.Name {
		p.New = stand
	} else {
		p.Old = stand
	}
	return p
}

func (s *step) partition() int {
	if r := s.set.Spec.UpdateStrategy.RollingUpdate; r != nil && r.Partition != nil {
		return int(*r.Partition)
	}
	return 0
}

// maxUnavailable returns how many pods may be missing; at least one, or nothing
// would ever move.
func (s *step) maxUnavailable() int {
	r := s.set.Spec.UpdateStrategy.RollingUpdate
	if r == nil || r.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(r.MaxUnavailable, s.replicas(), false)
	if err != nil {
		return 1
	}
	return max(n, 1)
}

// teller is whom events come from, as Kubernetes names its controllers.
const teller = "statefulset-controller"

func (s *step) tell(kind, reason, message string) {
	tell.About(s.tx, tables.StatefulSets, s.set, tell.Event{From: teller, Type: kind, Reason: reason, Message: message})
}
