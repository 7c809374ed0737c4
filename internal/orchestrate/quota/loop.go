package quota

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of resource quotas.
type Loop struct {
	inside []counted
	sheets map[object.Key]*sheet
	spaces map[string]map[object.Key]*sheet // the same, by namespace
	dirty  map[object.Key]bool
}

// counted is a table whose rows a quota may limit.
type counted struct {
	table *store.Table[store.Object, any]
	gr    schema.GroupResource
}

// sheet is what the rows of one namespace take of one quota.
type sheet struct {
	uid  types.UID
	spec corev1.ResourceQuotaSpec
	sum  corev1.ResourceList
	rows map[rowKey]corev1.ResourceList
}

type rowKey struct {
	table store.TableID
	name  string
}

// New returns the loop.
func New() *Loop {
	l := &Loop{}
	for _, t := range tables.All() {
		if t.Namespaced() && t.ID() != tables.Events.ID() {
			l.inside = append(l.inside, counted{t, policy.GroupResource(t)})
		}
	}
	return l
}

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/quota" }

func (l *Loop) Reads() (ids []store.TableID) {
	for _, c := range l.inside {
		ids = append(ids, c.table.ID())
	}
	return append(ids, tables.CustomObjects.ID())
}

func (l *Loop) Writes() []store.TableID { return []store.TableID{tables.ResourceQuotas.ID()} }

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.sheets, l.spaces, l.dirty = map[object.Key]*sheet{}, map[string]map[object.Key]*sheet{}, map[object.Key]bool{}
	}
	for key := range tables.ResourceQuotas.Changed(tx) {
		l.observe(tx, key)
	}
	for _, c := range l.inside {
		if !l.concerned(c.gr) {
			continue
		}
		for key := range c.table.Changed(tx) {
			for q, s := range l.spaces[key.Namespace] {
				s.count(tx, c, key)
				l.dirty[q] = true
			}
		}
	}
	if len(l.sheets) > 0 {
		for key := range tables.CustomObjects.Changed(tx) {
			for q, s := range l.spaces[tables.ParseCustomKey(key).Namespace] {
				s.count(tx, custom(key), key)
				l.dirty[q] = true
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(l.dirty), object.Key.Compare) {
		l.write(tx, key)
	}
	clear(l.dirty)
	return next, nil
}

// custom returns the table of custom objects as the kind that the key names.
func custom(key object.Key) counted {
	return counted{tables.CustomObjects.Any(), policy.CustomResource(key)}
}

// concerned reports whether any quota limits rows of gr.
func (l *Loop) concerned(gr schema.GroupResource) bool {
	for _, s := range l.sheets {
		if policy.Concerns(&s.spec, gr) {
			return true
		}
	}
	return false
}

// observe takes in a quota that changed. One whose limits are new is counted
// from the tables.
func (l *Loop) observe(tx *store.Tx, key object.Key) {
	q, ok := tables.ResourceQuotas.Get(tx, key)
	s := l.sheets[key]
	if s != nil && (!ok || s.uid != q.UID || !equality.Semantic.DeepEqual(s.spec, q.Spec)) {
		delete(l.sheets, key)
		delete(l.spaces[key.Namespace], key)
		s = nil
	}
	if !ok {
		return
	}
	l.dirty[key] = true
	if s != nil {
		return
	}
	s = &sheet{uid: q.UID, spec: q.Spec, sum: policy.Zero(&q.Spec), rows: map[rowKey]corev1.ResourceList{}}
	l.sheets[key] = s
	if l.spaces[key.Namespace] == nil {
		l.spaces[key.Namespace] = map[object.Key]*sheet{}
	}
	l.spaces[key.Namespace][key] = s
	for _, c := range l.inside {
		if !policy.Concerns(&s.spec, c.gr) {
			continue
		}
		for row := range c.table.Rows(tx, key.Namespace) {
			s.count(tx, c, row.Key())
		}
	}
	for row := range tables.CustomObjects.By(tx, tables.CustomByNamespace, key.Namespace) {
		s.count(tx, custom(row.Key()), row.Key())
	}
}

// count takes in a row as it is now, or that it is gone.
func (s *sheet) count(tx *store.Tx, c counted, key object.Key) {
	if !policy.Concerns(&s.spec, c.gr) {
		return
	}
	k := rowKey{c.table.ID(), key.String()}
	policy.Add(s.sum, s.rows[k], -1)
	delete(s.rows, k)
	o, ok := c.table.Get(tx, key)
	if !ok {
		return
	}
	if takes := policy.Measure(&s.spec, c.gr, o); len(takes) > 0 {
		s.rows[k] = takes
		policy.Add(s.sum, takes, 1)
	}
}

// write writes what is counted, if it differs from what stands.
func (l *Loop) write(tx *store.Tx, key object.Key) {
	s := l.sheets[key]
	q, ok := tables.ResourceQuotas.Get(tx, key)
	if s == nil || !ok || (equality.Semantic.DeepEqual(q.Status.Hard, s.spec.Hard) && equality.Semantic.DeepEqual(q.Status.Used, s.sum)) {
		return
	}
	next := q.DeepCopy()
	next.Status.Hard, next.Status.Used = s.spec.DeepCopy().Hard, s.sum.DeepCopy()
	tables.ResourceQuotas.Put(tx, next)
}
