package mesos

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// completedFrameworksMax is how many frameworks that were removed are remembered (Mesos,
// --max_completed_frameworks).
const completedFrameworksMax = 50

// Frameworks is the loop mesos/frameworks.
type Frameworks struct {
	due     map[string]time.Time // ids, and when they are removed where they stay away
	ending  map[string]bool      // ids of removed ones that may have something left
	removed map[string]time.Time
}

// NewFrameworks returns the loop.
func NewFrameworks() *Frameworks { return &Frameworks{} }

// The methods of loop.Reconciler.

func (l *Frameworks) Name() string { return "mesos/frameworks" }

func (l *Frameworks) Reads() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.Pods.ID(), tables.MesosTasks.ID(), tables.MesosOffers.ID(), tables.MesosNotices.ID(), tables.MesosAccepts.ID()}
}

func (l *Frameworks) Writes() []store.TableID { return l.Reads() }

func (l *Frameworks) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		*l = Frameworks{map[string]time.Time{}, map[string]bool{}, map[string]time.Time{}}
		for f := range tables.MesosFrameworks(tx) {
			l.observe(tx, f)
		}
	}
	for at := range tables.CustomObjects.Changed(tx) {
		if plural, _, ok := tables.IsMesos(at); !ok || plural != mesos.Frameworks.Resource {
			continue
		}
		if row, ok := tables.CustomObjects.Row(tx, at); ok {
			if f, err := mesos.FrameworkFrom(row.Object()); err == nil {
				l.observe(tx, f)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.due)) {
		at := l.due[id]
		if tx.Now().Before(at) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			continue
		}
		delete(l.due, id)
		if err := l.remove(tx, id); err != nil {
			return next, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.ending)) {
		l.end(tx, id)
		delete(l.ending, id)
	}
	l.forget(tx)
	return next, nil
}

func (l *Frameworks) observe(tx *store.Tx, f *mesos.Framework) {
	id := f.Spec.ID
	delete(l.due, id)
	switch {
	case f.Status.Removed != nil:
		if _, known := l.removed[id]; !known {
			l.removed[id], l.ending[id] = f.Status.Removed.Time, true
		}
	case f.Status.RemoveAt != nil:
		l.due[id] = f.Status.RemoveAt.Time
	}
	owe(tx, f)
}

// owe has a framework told again what became of operations that it has not acknowledged: what was to
// be told ended with its stream, or with the manager before.
func owe(tx *store.Tx, f *mesos.Framework) {
	if len(f.Status.Operations) == 0 || f.Status.Removed != nil {
		return
	}
	waits := map[string]bool{}
	for n := range tables.MesosNotices.In(tx, f.Spec.ID) {
		waits[string(n.Event.GetUpdateOperationStatus().GetStatus().GetUuid().GetValue())] = true
	}
	for _, s := range f.Status.Operations {
		if !waits[string(s.M.GetUuid().GetValue())] {
			operated(tx, f.Spec.ID, s.M)
		}
	}
}

// remove says that the framework is no more.
func (l *Frameworks) remove(tx *store.Tx, id string) error {
	f, ok := tables.MesosFramework(tx, id)
	if !ok || f.Status.Removed != nil {
		return nil
	}
	now := metav1.NewTime(tx.Now().Truncate(time.Second))
	f.Status.Removed, f.Status.RemoveAt, f.Status.Connected, f.Status.Stream, f.Status.Operations = &now, nil, false, "", nil
	return tables.PutMesosFramework(tx, f)
}

// end takes away what a framework has: its offers and what it was to be told, and its tasks,
// whose Pods get their time to end.
func (l *Frameworks) end(tx *store.Tx, id string) {
	for row := range tables.MesosOffers.By(tx, tables.MesosByFramework, id) {
		tables.MesosOffers.Delete(tx, row.Key())
	}
	for row := range tables.MesosNotices.Rows(tx, id) {
		tables.MesosNotices.Delete(tx, row.Key())
	}
	for row := range tables.MesosAccepts.Rows(tx, id) {
		tables.MesosAccepts.Delete(tx, row.Key())
	}
	now := metav1.NewTime(tx.Now().Truncate(time.Second))
	for t := range tables.MesosTasks.In(tx, id) {
		if t.Completed != nil {
			continue
		}
		next := t.Clone()
		if !mesos.Terminal(t.State) {
			s := t.Status(mesosv1.TaskState_TASK_KILLED, "Framework removed", tx.Now())
			s.Reason = mesosv1.TaskStatus_REASON_FRAMEWORK_REMOVED.Enum()
			next.Append(s)
		}
		next.Pending, next.Completed = nil, &now
		tables.MesosTasks.Put(tx, next)
	}
	if row, ok := tables.CustomObjects.Row(tx, tables.MesosFrameworkKey(id)); ok {
		for pod := range tables.Pods.By(tx, tables.OwnerIndex, string(row.Head().UID)) {
			reap.Delete(tx, tables.Pods, pod.Key(), metav1.DeletePropagationBackground)
		}
	}
}

// forget takes the oldest of those that were removed away, with their tasks.
func (l *Frameworks) forget(tx *store.Tx) {
	if len(l.removed) <= completedFrameworksMax {
		return
	}
	var ids []string
	for id := range l.removed {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		if c := l.removed[a].Compare(l.removed[b]); c != 0 {
			return c
		}
		return object.Key{Name: a}.Compare(object.Key{Name: b})
	})
	for _, id := range ids[:len(ids)-completedFrameworksMax] {
		tables.CustomObjects.Delete(tx, tables.MesosFrameworkKey(id))
		for row := range tables.MesosTasks.Rows(tx, id) {
			tables.MesosTasks.Delete(tx, row.Key())
		}
		delete(l.removed, id)
	}
}
