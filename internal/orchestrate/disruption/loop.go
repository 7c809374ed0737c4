package disruption

import (
	"cmp"
	"maps"
	"slices"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate/scale"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// member is a pod that a budget selects.
type member struct {
	healthy bool
	owner   types.UID
}

// budget is what the loop knows of one PodDisruptionBudget.
type budget struct {
	key      object.Key
	uid      types.UID
	selector labels.Selector // nil: selects nothing
	text     string          // of the selector, to see it change

	pods    map[object.Key]member
	healthy int32
	owners  map[types.UID]*owner
}

// owner is the controller of some of a budget's pods.
type owner struct {
	ref  metav1.OwnerReference
	pods int
}

// Loop is the control loop of disruption budgets.
type Loop struct {
	budgets map[object.Key]*budget
	in      map[string]map[object.Key]*budget // by namespace
	agenda  loop.Agenda                       // a budget has a time when a pod that was to be evicted counts again
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/disruption" }

func (l *Loop) Reads() []store.TableID {
	return append(scale.Reads(), tables.PodDisruptionBudgets.ID(), tables.Pods.ID())
}

func (l *Loop) Writes() []store.TableID {
	return []store.TableID{tables.PodDisruptionBudgets.ID(), tables.Events.ID()}
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	full := tx.FullPass()
	if full {
		l.budgets, l.in = map[object.Key]*budget{}, map[string]map[object.Key]*budget{}
		l.agenda = loop.Agenda{}
	}
	for key := range tables.PodDisruptionBudgets.Changed(tx) {
		l.observeBudget(tx, key, !full)
	}
	for key := range tables.Pods.Changed(tx) {
		l.observePod(tx, key)
	}
	l.observeOwners(tx)
	for _, key := range l.agenda.Due(tx.Now()) {
		l.agenda.Take(key)
		if b := l.budgets[key]; b != nil {
			l.agenda.At(key, l.reconcile(tx, b))
		}
	}
	return l.agenda.Next(), nil
}

// observeBudget takes in a budget that changed; scan: its pods are to be looked for.
func (l *Loop) observeBudget(tx *store.Tx, key object.Key, scan bool) {
	o, ok := tables.PodDisruptionBudgets.Get(tx, key)
	if !ok {
		delete(l.budgets, key)
		delete(l.in[key.Namespace], key)
		l.agenda.Take(key)
		return
	}
	l.agenda.Mark(key)
	sel, text := selectorOf(o)
	b := l.budgets[key]
	if b != nil && b.uid == o.UID && b.text == text {
		return
	}
	b = &budget{key: key, uid: o.UID, selector: sel, text: text, pods: map[object.Key]member{}, owners: map[types.UID]*owner{}}
	l.budgets[key] = b
	if l.in[key.Namespace] == nil {
		l.in[key.Namespace] = map[object.Key]*budget{}
	}
	l.in[key.Namespace][key] = b
	if !scan {
		return
	}
	for row := range tables.Pods.Rows(tx, key.Namespace) {
		b.put(tx, row)
	}
}

// selectorOf reads the budget's selector: a missing one selects nothing, an empty one
// every pod (API reference, PodDisruptionBudgetSpec).
func selectorOf(o *policyv1.PodDisruptionBudget) (labels.Selector, string) {
	sel, err := metav1.LabelSelectorAsSelector(o.Spec.Selector)
	if o.Spec.Selector == nil || err != nil {
		return nil, "none"
	}
	return sel, "of " + sel.String()
}

type podRow = interface {
	Key() object.Key
	Head() *tables.PodHead
}

func (b *budget) selects(h *tables.PodHead) bool {
	return b.selector != nil && !h.UnderReview && b.selector.Matches(labels.Set(h.Labels))
}

// put takes in a pod and reports whether the budget selects it.
func (b *budget) put(tx *store.Tx, row podRow) bool {
	h := row.Head()
	if !b.selects(h) {
		return false
	}
	m := member{healthy: h.Ready && !h.Deleting, owner: h.Owner}
	b.pods[row.Key()] = m
	if m.healthy {
		b.healthy++
	}
	if m.owner == "" {
		return true
	}
	o := b.owners[m.owner]
	if o == nil {
		o = &owner{}
		if pod, ok := tables.Pods.Get(tx, row.Key()); ok {
			o.ref = *metav1.GetControllerOfNoCopy(pod)
		}
		b.owners[m.owner] = o
	}
	o.pods++
	return true
}

// drop forgets a pod and reports whether it was known.
func (b *budget) drop(key object.Key) bool {
	m, ok := b.pods[key]
	if !ok {
		return false
	}
	delete(b.pods, key)
	if m.healthy {
		b.healthy--
	}
	if o := b.owners[m.owner]; o != nil {
		if o.pods--; o.pods == 0 {
			delete(b.owners, m.owner)
		}
	}
	return true
}

func (l *Loop) observePod(tx *store.Tx, key object.Key) {
	row, ok := tables.Pods.Row(tx, key)
	for at, b := range l.in[key.Namespace] {
		known := b.drop(key)
		if ok && b.put(tx, row) || known {
			l.agenda.Mark(at)
		}
	}
}

// observeOwners marks the budgets of namespaces in which a count of replicas may have
// changed.
func (l *Loop) observeOwners(tx *store.Tx) {
	if len(l.budgets) == 0 {
		return
	}
	mark := func(key object.Key) {
		for at := range l.in[key.Namespace] {
			l.agenda.Mark(at)
		}
	}
	for key := range tables.Deployments.Changed(tx) {
		mark(key)
	}
	for key := range tables.ReplicaSets.Changed(tx) {
		mark(key)
	}
	for key := range tables.StatefulSets.Changed(tx) {
		mark(key)
	}
	for key := range tables.ReplicationControllers.Changed(tx) {
		mark(key)
	}
	for key := range tables.CustomObjects.Changed(tx) {
		mark(tables.ParseCustomKey(key).Key)
	}
	for range tables.CustomResourceDefinitions.Changed(tx) {
		for at := range l.budgets {
			l.agenda.Mark(at)
		}
	}
}

// sortedOwners returns the owners in a fixed order.
func (b *budget) sortedOwners() []*owner {
	return slices.SortedFunc(maps.Values(b.owners), func(x, y *owner) int {
		return cmp.Or(cmp.Compare(x.ref.Kind, y.ref.Kind), cmp.Compare(x.ref.Name, y.ref.Name), cmp.Compare(x.ref.UID, y.ref.UID))
	})
}
