package replicaset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of replica sets, or of replication controllers.
type Loop struct {
	noun  noun
	rules sow.Rules
	cache
	dirty map[types.UID]bool      // sets to look at, what a full step left over included
	retry map[types.UID]time.Time // sets that could not make a pod, and when to try again
	held  map[types.UID]time.Time // sets whose status is to be written, and when
}

// New returns the loop of replica sets.
func New(rules sow.Rules) *Loop { return &Loop{noun: replicaSets(), rules: rules} }

// NewControllers returns the loop of replication controllers.
func NewControllers(rules sow.Rules) *Loop {
	return &Loop{noun: replicationControllers(), rules: rules}
}

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return l.noun.name }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{l.noun.id, tables.Pods.ID(), tables.Namespaces.ID(), tables.ResourceQuotas.ID(), tables.Refusals.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return append(sow.Writes(), l.noun.id, tables.Events.ID())
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.cache = newCache()
		l.dirty, l.retry, l.held = map[types.UID]bool{}, map[types.UID]time.Time{}, map[types.UID]time.Time{}
	}
	// Pods first: a set that is counted anew must not be told of them after that.
	for key := range tables.Pods.Changed(tx) {
		l.observePod(tx, key)
	}
	for key := range l.noun.changed(tx) {
		l.observeSet(tx, key)
	}
	for key := range tables.ResourceQuotas.Changed(tx) {
		l.tryAgain(key.Namespace)
	}
	for key := range tables.Refusals.Changed(tx) {
		l.tryAgain(key.Namespace)
	}
	for key := range tables.Namespaces.Changed(tx) {
		for uid := range l.namespace[key.Name] {
			l.dirty[uid] = true
		}
	}
	l.mature(tx)
	l.retries(tx)
	budget := loop.StepWritesMax
	for _, set := range l.due() {
		if budget <= 0 {
			break // the rest stays dirty: this step has written pods
		}
		budget -= l.reconcile(tx, set, budget)
		delete(l.dirty, set.uid) // what it wrote makes it dirty again
	}
	return l.next(), nil
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
func (l *Loop) reconcile(tx *store.Tx, s *set, budget int) int {
	rs, ok := l.noun.get(tx, s.key)
	delete(l.retry, s.uid)
	if !ok || rs.UID != s.uid {
		return 0
	}
	var out outcome
	// A set that does not select what it makes would make pods without end: it is
	// let be. Doors refuse such sets; a snapshot of another cluster may hold one.
	if rs.DeletionTimestamp == nil && s.matches(rs.Spec.Template.Labels) {
		out = l.fit(tx, s, rs, budget)
	}
	if out.err != nil {
		l.retry[s.uid] = tx.Now().Add(retryAfter)
	}
	l.writeStatus(tx, s, rs, out)
	return out.wrote
}

// fit makes, adopts, releases or deletes pods.
func (l *Loop) fit(tx *store.Tx, s *set, rs *appsv1.ReplicaSet, budget int) (out outcome) {
	out.wrote = l.claim(tx, s, rs, budget)
	want := int(*replicas(rs))
	switch have := s.count.active; {
	case out.wrote > 0: // the next step counts them
	case have < want && !reap.Terminating(tx, rs.Namespace):
		out.wrote, out.err = l.create(tx, rs, min(want-have, budget))
		out.settled = out.err == nil && out.wrote == want-have
	case have > want:
		out.wrote = min(have-want, budget)
		remove(tx, s, out.wrote)
		out.settled = true
	default:
		out.settled = have == want
	}
	return out
}

func replicas(rs *appsv1.ReplicaSet) *int32 {
	if rs.Spec.Replicas != nil {
		return rs.Spec.Replicas
	}
	one := int32(1)
	return &one
}

// writeStatus writes what is counted.
func (l *Loop) writeStatus(tx *store.Tx, s *set, rs *appsv1.ReplicaSet, out outcome) {
	c := s.count
	want := appsv1.ReplicaSetStatus{
		Replicas: int32(c.active - c.unseen), FullyLabeledReplicas: int32(c.labeled), ReadyReplicas: int32(c.ready),
		AvailableReplicas: int32(c.available), ObservedGeneration: rs.Generation, Conditions: l.conditions(tx, s, rs, out),
	}
	if l.noun.ending {
		ending := int32(c.ending)
		want.TerminatingReplicas = &ending
	}
	l.write(tx, s, rs, want)
}

// observeSet takes in a set that changed.
func (l *Loop) observeSet(tx *store.Tx, key object.Key) {
	rs, ok := l.noun.get(tx, key)
	if was := l.byKey[key]; was != nil && (!ok || rs.UID != was.uid) {
		l.forget(was)
		delete(l.retry, was.uid)
		delete(l.held, was.uid)
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
