package statefulset

import (
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate/history"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of stateful sets.
type Loop struct {
	rules sow.Rules

	book     *history.Book
	uids     map[object.Key]types.UID // of sets
	failures map[object.Key]int       // pods that ended in a row, by the key of the one to be made
	sets     map[types.UID]object.Key
	owners   map[object.Key]types.UID           // of pods
	orphans  map[object.Key]map[object.Key]bool // pods without a controller, by the set whose name they bear
	claims   map[object.Key]map[object.Key]bool // sets, by their claims' names without the ordinal
	prefixes map[object.Key][]object.Key        // what claims holds of a set
	agenda   loop.Agenda
}

// New returns the loop.
func New(rules sow.Rules) *Loop { return &Loop{rules: rules} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/statefulset" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.StatefulSets.ID(), tables.Pods.ID(), tables.ControllerRevisions.ID(), tables.PersistentVolumeClaims.ID(),
		tables.Namespaces.ID(), tables.ResourceQuotas.ID(), tables.Refusals.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return append(sow.Writes(), tables.StatefulSets.ID(), tables.ControllerRevisions.ID(), tables.PersistentVolumeClaims.ID(), tables.Events.ID())
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.reset()
	}
	l.observe(tx)
	for _, key := range l.agenda.Due(tx.Now()) {
		l.agenda.Take(key)
		set, ok := tables.StatefulSets.Get(tx, key)
		if !ok {
			continue
		}
		s := &step{loop: l, tx: tx, set: set, key: key}
		s.run()
		l.agenda.At(key, s.next)
	}
	return l.agenda.Next(), nil
}

func (l *Loop) reset() {
	*l = Loop{
		rules: l.rules, book: history.New(tables.StatefulSets.GVK()), uids: map[object.Key]types.UID{},
		failures: map[object.Key]int{}, sets: map[types.UID]object.Key{}, owners: map[object.Key]types.UID{},
		orphans: map[object.Key]map[object.Key]bool{}, claims: map[object.Key]map[object.Key]bool{}, prefixes: map[object.Key][]object.Key{},
	}
}

// observe marks the sets that what changed concerns.
func (l *Loop) observe(tx *store.Tx) {
	mark := l.agenda.Mark
	for key := range tables.StatefulSets.Changed(tx) {
		l.observeSet(tx, key)
		mark(key)
	}
	for key := range tables.Pods.Changed(tx) {
		l.observePod(tx, key)
	}
	for key := range tables.ControllerRevisions.Changed(tx) {
		orphan := l.book.Observe(tx, key, mark)
		if orphan == nil {
			continue
		}
		for set := range tables.StatefulSets.In(tx, key.Namespace) {
			if selector(set).Matches(labels.Set(orphan.Labels)) {
				mark(object.KeyOf(set))
			}
		}
	}
	for key := range tables.PersistentVolumeClaims.Changed(tx) {
		prefix, _, _ := split(key)
		for set := range l.claims[prefix] {
			mark(set)
		}
	}
	for key := range tables.Namespaces.Changed(tx) {
		l.markIn(tx, key.Name)
	}
	for key := range tables.ResourceQuotas.Changed(tx) {
		l.markIn(tx, key.Namespace)
	}
	for key := range tables.Refusals.Changed(tx) {
		l.markIn(tx, key.Namespace)
	}
}

func (l *Loop) markIn(tx *store.Tx, namespace string) {
	for row := range tables.StatefulSets.Rows(tx, namespace) {
		l.agenda.Mark(row.Key())
	}
}

// observeSet keeps by which claims a set is found.
func (l *Loop) observeSet(tx *store.Tx, key object.Key) {
	for _, prefix := range l.prefixes[key] {
		delete(l.claims[prefix], key)
	}
	delete(l.prefixes, key)
	delete(l.sets, l.uids[key])
	delete(l.uids, key)
	set, ok := tables.StatefulSets.Get(tx, key)
	if !ok {
		return
	}
	l.sets[set.UID], l.uids[key] = key, set.UID
	for i := range set.Spec.VolumeClaimTemplates {
		prefix := object.Key{Namespace: key.Namespace, Name: set.Spec.VolumeClaimTemplates[i].Name + "-" + set.Name}
		l.prefixes[key] = append(l.prefixes[key], prefix)
		add(l.claims, prefix, key)
	}
}

// observePod marks the set that had the pod, the one that has it, and if none
// has it the one whose name it bears.
func (l *Loop) observePod(tx *store.Tx, key object.Key) {
	if was, ok := l.owners[key]; ok {
		l.markOwner(was)
		delete(l.owners, key)
	}
	parent, _, member := split(key)
	if member {
		delete(l.orphans[parent], key)
	}
	row, ok := tables.Pods.Row(tx, key)
	switch {
	case member: // it is theirs, or it is in the way, or it is gone and may be made
		l.agenda.Mark(parent)
	case !ok:
		return
	}
	if !ok {
		return
	}
	if h := row.Head(); h.Owner != "" {
		l.owners[key] = h.Owner
		l.markOwner(h.Owner)
	} else if member {
		add(l.orphans, parent, key)
	}
}

func (l *Loop) markOwner(uid types.UID) {
	if key, ok := l.sets[uid]; ok {
		l.agenda.Mark(key)
	}
}

func add(m map[object.Key]map[object.Key]bool, at, key object.Key) {
	if m[at] == nil {
		m[at] = map[object.Key]bool{}
	}
	m[at][key] = true
}

// split takes a name apart that ends in "-" and an ordinal.
func split(key object.Key) (parent object.Key, ordinal int, ok bool) {
	i := strings.LastIndexByte(key.Name, '-')
	if i <= 0 {
		return parent, 0, false
	}
	text := key.Name[i+1:]
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || strconv.FormatInt(n, 10) != text || n < 0 {
		return parent, 0, false
	}
	return object.Key{Namespace: key.Namespace, Name: key.Name[:i]}, int(n), true
}

// selector returns what the set selects; nothing where it says nothing.
func selector(set *appsv1.StatefulSet) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil || sel.Empty() {
		return labels.Nothing()
	}
	return sel
}
