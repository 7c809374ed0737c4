package gc

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

type table = *store.Table[store.Object, any]

// place is where an object is.
type place struct {
	table table
	key   object.Key
}

// owner is an object that others name as their owner.
type owner struct {
	uid types.UID
	place
}

// Loop is the garbage collector.
type Loop struct {
	tables []table // all that are collected: every durable one
	kinds  map[schema.GroupKind]table
	custom table // of the kinds that definitions define

	owners map[types.UID]owner
	// The reverse. An object made anew where its dependents are not yet told of the
	// old one's end is a second owner at the same place.
	at    map[place][]types.UID
	work  map[types.UID]bool // owners whose dependents are not worked off
	alien map[types.UID]bool // owners that cannot be looked up

	budget int
}

// New returns the loop.
func New() *Loop {
	l := &Loop{kinds: map[schema.GroupKind]table{}}
	for _, t := range tables.All() {
		if t.ID() == tables.Events.ID() {
			continue // events have no owners, and there are many
		}
		l.tables = append(l.tables, t)
		if t.ID() == tables.CustomObjects.ID() {
			l.custom = t
			continue
		}
		l.kinds[t.GVK().GroupKind()] = t
	}
	return l
}

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/gc" }

func (l *Loop) Reads() []store.TableID {
	var ids []store.TableID
	for _, t := range l.tables {
		ids = append(ids, t.ID())
	}
	return ids
}

func (l *Loop) Writes() []store.TableID { return l.Reads() }

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.owners, l.at = map[types.UID]owner{}, map[place][]types.UID{}
		l.work, l.alien = map[types.UID]bool{}, map[types.UID]bool{}
	}
	for range tables.CustomResourceDefinitions.Changed(tx) {
		clear(l.alien) // one of them may be of a kind that is known now
		break
	}
	l.budget = loop.StepWritesMax
	for _, t := range l.tables {
		for key := range t.Changed(tx) {
			l.observe(tx, place{t, key})
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(l.work)) {
		if l.budget <= 0 {
			break // the rest waits for the next step: this one has written
		}
		if l.workOff(tx, l.owners[uid]) {
			delete(l.work, uid)
		}
	}
	return next, nil
}

// observe takes in one changed object: as an owner, and as a dependent.
func (l *Loop) observe(tx *store.Tx, p place) {
	for _, uid := range l.at[p] {
		l.work[uid] = true
	}
	row, ok := p.table.Row(tx, p.key)
	if !ok {
		return
	}
	uids := row.Indexed(tables.OwnerIndex)
	for _, uid := range uids {
		if _, known := l.owners[types.UID(uid)]; !known && !l.alien[types.UID(uid)] {
			l.learn(tx, row.Object())
			break
		}
	}
	for _, uid := range uids {
		if o, known := l.owners[types.UID(uid)]; known && !l.settled(tx, o) {
			l.work[o.uid] = true
		}
	}
	if reap.Deleting(row) {
		l.observeDeleting(tx, p, row.Object())
	}
}

// observeDeleting takes in an object that is marked: it may hold its dependents,
// and its row goes once nothing holds it.
func (l *Loop) observeDeleting(tx *store.Tx, p place, o store.Object) {
	if object.Released(o) {
		p.table.Delete(tx, p.key)
		l.budget--
		return
	}
	if policyOf(o) == "" {
		return
	}
	l.remember(owner{o.GetUID(), p})
	l.work[o.GetUID()] = true
}

// learn remembers where a dependent's owners are.
func (l *Loop) learn(tx *store.Tx, o store.Object) {
	for _, ref := range o.GetOwnerReferences() {
		if _, known := l.owners[ref.UID]; known {
			continue
		}
		if p, ok := l.find(tx, o, ref); ok {
			l.remember(owner{ref.UID, p})
		} else {
			l.alien[ref.UID] = true
		}
	}
}

func (l *Loop) remember(o owner) {
	if _, known := l.owners[o.uid]; !known {
		l.owners[o.uid] = o
		l.at[o.place] = append(l.at[o.place], o.uid)
	}
}

// forget drops an owner that is gone and whose dependents are dealt with.
func (l *Loop) forget(o owner) {
	delete(l.owners, o.uid)
	if l.at[o.place] = object.Without(l.at[o.place], o.uid); l.at[o.place] == nil {
		delete(l.at, o.place)
	}
}

// find returns where the owner that ref names would be; false where that cannot
// be told.
func (l *Loop) find(tx *store.Tx, dependent store.Object, ref metav1.OwnerReference) (place, bool) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return place{}, false
	}
	gk := gv.WithKind(ref.Kind).GroupKind()
	t := l.kinds[gk]
	if t == nil {
		d := tables.DefinitionOf(tx, gk)
		if d == nil || d.Namespaced && dependent.GetNamespace() == "" {
			return place{}, false
		}
		return place{l.custom, d.Place(dependent.GetNamespace(), ref.Name).CustomKey()}, true
	}
	if t.Namespaced() && dependent.GetNamespace() == "" {
		return place{}, false
	}
	key := object.Key{Name: ref.Name}
	if t.Namespaced() {
		key.Namespace = dependent.GetNamespace()
	}
	return place{t, key}, true
}

// get returns the owner's object, false if it is gone or another has its name.
func (o owner) get(tx *store.Tx) (store.Object, bool) {
	if o.table == nil {
		return nil, false
	}
	have, ok := o.table.Get(tx, o.key)
	return have, ok && have.GetUID() == o.uid
}

// settled reports whether the owner is there and not on its way out: nothing is
// to be done for its dependents.
func (l *Loop) settled(tx *store.Tx, o owner) bool {
	if o.table == nil {
		return false
	}
	if row, ok := o.table.Row(tx, o.key); ok { // one owner of 10,000 pods is not decoded for each
		if h, cold := row.Head().(*tables.CustomHead); cold && h.UID == o.uid && !h.Deleting {
			return true
		}
	}
	have, ok := o.get(tx)
	return ok && (have.GetDeletionTimestamp() == nil || policyOf(have) == "")
}

// policyOf returns what the finalizers of an object say about its dependents;
// empty: nothing.
func policyOf(o metav1.Object) metav1.DeletionPropagation {
	switch f := o.GetFinalizers(); {
	case slices.Contains(f, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(f, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return ""
}
