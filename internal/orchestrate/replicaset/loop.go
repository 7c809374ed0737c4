package replicaset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of replica sets.
type Loop struct {
	cache
	dirty map[types.UID]bool // sets to look at, what a full step left over included
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/replicaset" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.ReplicaSets.ID(), tables.Pods.ID(), tables.Namespaces.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return []store.TableID{tables.ReplicaSets.ID(), tables.Pods.ID()}
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.cache = newCache()
		l.dirty = map[types.UID]bool{}
	}
	// Pods first: a set that is counted anew must not be told of them after that.
	for key := range tables.Pods.Changed(tx) {
		l.observePod(tx, key)
	}
	for key := range tables.ReplicaSets.Changed(tx) {
		l.observeSet(tx, key)
	}
	for key := range tables.Namespaces.Changed(tx) {
		for uid := range l.namespace[key.Name] {
			l.dirty[uid] = true
		}
	}
	l.mature(tx)
	budget := loop.StepWritesMax
	for _, set := range l.due() {
		if budget <= 0 {
			break // the rest stays dirty: this step has written pods
		}
		budget -= l.reconcile(tx, set, budget)
		delete(l.dirty, set.uid) // what it wrote makes it dirty again
	}
	return l.nextMature(), nil
}

// due returns the sets to look at in the order of their keys.
func (l *Loop) due() []*set {
	var sets []*set
	for uid := range l.dirty {
		if s := l.sets[uid]; s != nil {
			sets = append(sets, s)
		} else {
			delete(l.dirty, uid)
		}
	}
	slices.SortFunc(sets, func(a, b *set) int { return a.key.Compare(b.key) })
	return sets
}

// reconcile brings one set nearer to what it asks for, with at most budget
// writes of pods, and returns how many it made.
func (l *Loop) reconcile(tx *store.Tx, s *set, budget int) (wrote int) {
	rs, ok := tables.ReplicaSets.Get(tx, s.key)
	if !ok || rs.UID != s.uid {
		return 0
	}
	// A set that does not select what it makes would make pods without end: it is
	// let be. Doors refuse such sets; a snapshot of another cluster may hold one.
	if rs.DeletionTimestamp == nil && s.matches(rs.Spec.Template.Labels) {
		wrote = l.claim(tx, s, rs, budget)
		want := int(*replicas(rs))
		switch have := s.count.active; {
		case wrote > 0: // the next step counts them
		case have < want && !reap.Terminating(tx, rs.Namespace):
			wrote = min(want-have, budget)
			create(tx, rs, wrote)
		case have > want:
			wrote = min(have-want, budget)
			remove(tx, s, wrote)
		}
	}
	l.writeStatus(tx, s, rs)
	return wrote
}

func replicas(rs *appsv1.ReplicaSet) *int32 {
	if rs.Spec.Replicas != nil {
		return rs.Spec.Replicas
	}
	one := int32(1)
	return &one
}

// writeStatus writes what is counted, if it differs from what stands.
func (l *Loop) writeStatus(tx *store.Tx, s *set, rs *appsv1.ReplicaSet) {
	c := s.count
	ending := int32(c.ending)
	want := appsv1.ReplicaSetStatus{
		Replicas: int32(c.active), FullyLabeledReplicas: int32(c.labeled), ReadyReplicas: int32(c.ready),
		AvailableReplicas: int32(c.available), TerminatingReplicas: &ending,
		ObservedGeneration: rs.Generation, Conditions: rs.Status.Conditions,
	}
	if sameStatus(&rs.Status, &want) {
		return
	}
	next := rs.DeepCopy()
	want.Conditions = next.Status.Conditions
	next.Status = want
	tables.ReplicaSets.Put(tx, next)
}

func sameStatus(a, b *appsv1.ReplicaSetStatus) bool {
	return a.Replicas == b.Replicas && a.FullyLabeledReplicas == b.FullyLabeledReplicas && a.ReadyReplicas == b.ReadyReplicas &&
		a.AvailableReplicas == b.AvailableReplicas && a.ObservedGeneration == b.ObservedGeneration &&
		a.TerminatingReplicas != nil && *a.TerminatingReplicas == *b.TerminatingReplicas
}

// observeSet takes in a set that changed.
func (l *Loop) observeSet(tx *store.Tx, key object.Key) {
	rs, ok := tables.ReplicaSets.Get(tx, key)
	if was := l.byKey[key]; was != nil && (!ok || rs.UID != was.uid) {
		l.forget(was)
	}
	if !ok {
		return
	}
	s := l.sets[rs.UID]
	if s == nil {
		s = &set{uid: rs.UID, key: key}
		l.sets[rs.UID], l.byKey[key] = s, s
		l.inNamespace(key.Namespace)[rs.UID] = s
	}
	recount := s.take(rs)
	l.dirty[rs.UID] = true
	if recount {
		l.look(tx, s)
		l.recount(tx, s)
	}
}
