package deployment

import (
	"cmp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of deployments.
type Loop struct {
	owners  map[object.Key]object.Key      // of replica sets, by the set's key
	orphans map[string]map[object.Key]bool // replica sets without a controller, by namespace
	refused map[object.Key]bool            // deployments whose new set a quota refused
	agenda  loop.Agenda
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/deployment" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.Deployments.ID(), tables.ReplicaSets.ID(), tables.Namespaces.ID(), tables.ResourceQuotas.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return []store.TableID{tables.Deployments.ID(), tables.ReplicaSets.ID(), tables.ResourceQuotas.ID(), tables.Events.ID()}
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		*l = Loop{owners: map[object.Key]object.Key{}, orphans: map[string]map[object.Key]bool{}, refused: map[object.Key]bool{}}
	}
	for key := range tables.Deployments.Changed(tx) {
		l.agenda.Mark(key)
	}
	for key := range tables.ReplicaSets.Changed(tx) {
		l.observeSet(tx, key)
	}
	for quota := range tables.ResourceQuotas.Changed(tx) {
		for key := range l.refused {
			if key.Namespace == quota.Namespace {
				l.agenda.Mark(key)
			}
		}
	}
	for _, key := range l.agenda.Due(tx.Now()) {
		l.agenda.Take(key)
		delete(l.refused, key)
		d, ok := tables.Deployments.Get(tx, key)
		if !ok {
			continue
		}
		s := newStep(tx, d, l.orphans[d.Namespace])
		s.run()
		if s.refused {
			l.refused[key] = true
		}
		l.agenda.At(key, s.next)
	}
	return l.agenda.Next(), nil
}

// observeSet marks the deployments that a changed set concerns: the one that had
// it, the one that has it, and if none has it those that may adopt it.
func (l *Loop) observeSet(tx *store.Tx, key object.Key) {
	if was, ok := l.owners[key]; ok {
		l.agenda.Mark(was)
		delete(l.owners, key)
	}
	delete(l.orphans[key.Namespace], key)
	rs, ok := tables.ReplicaSets.Get(tx, key)
	if !ok {
		return
	}
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil {
		if ref.Kind == tables.Deployments.GVK().Kind {
			owner := object.Key{Namespace: key.Namespace, Name: ref.Name}
			l.owners[key] = owner
			l.agenda.Mark(owner)
		}
		return
	}
	if l.orphans[key.Namespace] == nil {
		l.orphans[key.Namespace] = map[object.Key]bool{}
	}
	l.orphans[key.Namespace][key] = true
	for d := range tables.Deployments.In(tx, key.Namespace) {
		if selector(d).Matches(labels.Set(rs.Labels)) {
			l.agenda.Mark(object.KeyOf(d))
		}
	}
}

// selector returns what the deployment selects; nothing where it says nothing.
func selector(d *appsv1.Deployment) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || sel.Empty() {
		return labels.Nothing()
	}
	return sel
}

// claim returns the deployment's sets, oldest first, having adopted those of the
// orphans that it selects and released what it does not select.
func claim(tx *store.Tx, d *appsv1.Deployment, orphans map[object.Key]bool) []*appsv1.ReplicaSet {
	var sets, strays []*appsv1.ReplicaSet
	sel := selector(d)
	for row := range tables.ReplicaSets.By(tx, tables.OwnerIndex, string(d.UID)) {
		rs := row.Object()
		switch {
		case !metav1.IsControlledBy(rs, d):
		case sel.Matches(labels.Set(rs.Labels)):
			sets = append(sets, rs)
		default:
			strays = append(strays, rs)
		}
	}
	if d.DeletionTimestamp == nil {
		for _, rs := range strays {
			next := rs.DeepCopy()
			next.OwnerReferences = slices.DeleteFunc(next.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == d.UID })
			tables.ReplicaSets.Put(tx, next)
		}
		for key := range orphans {
			if rs, ok := tables.ReplicaSets.Get(tx, key); ok && adopts(d, sel, rs) {
				next := rs.DeepCopy()
				next.OwnerReferences = append(next.OwnerReferences, object.ControllerRef(d, tables.Deployments.GVK()))
				sets = append(sets, next)
			}
		}
	}
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	for _, rs := range sets {
		if orphans[object.KeyOf(rs)] && !stands(tx, rs) {
			tables.ReplicaSets.Put(tx, rs)
		}
	}
	return sets
}

func adopts(d *appsv1.Deployment, sel labels.Selector, rs *appsv1.ReplicaSet) bool {
	return rs.Namespace == d.Namespace && metav1.GetControllerOfNoCopy(rs) == nil && rs.DeletionTimestamp == nil &&
		sel.Matches(labels.Set(rs.Labels))
}

// stands reports whether rs is the very object in the table.
func stands(tx *store.Tx, rs *appsv1.ReplicaSet) bool {
	have, ok := tables.ReplicaSets.Get(tx, object.KeyOf(rs))
	return ok && have == rs
}

// prune deletes sets without pods beyond the history limit, oldest revision
// first.
func (s *step) prune() {
	if s.d.Spec.RevisionHistoryLimit == nil {
		return
	}
	var idle []*appsv1.ReplicaSet
	for _, rs := range s.sets {
		if rs != s.fresh && rs.DeletionTimestamp == nil && sizeOf(rs) == 0 && rs.Status.Replicas == 0 && rs.Status.ObservedGeneration >= rs.Generation {
			idle = append(idle, rs)
		}
	}
	slices.SortStableFunc(idle, func(a, b *appsv1.ReplicaSet) int { return int(revisionOf(a) - revisionOf(b)) })
	for _, rs := range idle[:max(len(idle)-int(*s.d.Spec.RevisionHistoryLimit), 0)] {
		reap.Delete(s.tx, tables.ReplicaSets, object.KeyOf(rs), metav1.DeletePropagationBackground)
	}
}
