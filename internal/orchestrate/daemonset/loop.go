package daemonset

import (
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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

// Loop is the control loop of daemon sets.
type Loop struct {
	rules sow.Rules

	book      *history.Book
	sets      map[types.UID]object.Key
	uids      map[object.Key]types.UID       // of sets
	choosers  map[object.Key]*chooser        // by set
	owners    map[object.Key]types.UID       // of pods
	targets   map[object.Key]string          // the node that a pod without one asks for
	orphans   map[string]map[object.Key]bool // pods without a controller, by namespace
	failures  map[object.Key]map[string]int  // pods that ended in a row, by set and node
	deadlines map[object.Key]time.Time       // when a set must be looked at again
	dirty     map[object.Key]bool
}

// New returns the loop.
func New(rules sow.Rules) *Loop { return &Loop{rules: rules} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/daemonset" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.DaemonSets.ID(), tables.Pods.ID(), tables.Nodes.ID(), tables.ControllerRevisions.ID(),
		tables.Namespaces.ID(), tables.ResourceQuotas.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return append(sow.Writes(), tables.DaemonSets.ID(), tables.ControllerRevisions.ID(), tables.Events.ID())
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.reset()
	}
	l.observe(tx)
	start := tx.Writes()
	for _, key := range slices.SortedFunc(maps.Keys(l.dirty), object.Key.Compare) {
		if tx.Writes()-start >= loop.StepWritesMax {
			break // the rest stays dirty: this step has written pods
		}
		delete(l.dirty, key)
		delete(l.deadlines, key)
		d, ok := tables.DaemonSets.Get(tx, key)
		if !ok {
			continue
		}
		s := &step{loop: l, tx: tx, set: d, key: key}
		s.run()
		if !s.next.IsZero() {
			l.deadlines[key] = s.next
		}
	}
	for _, at := range l.deadlines {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, nil
}

func (l *Loop) reset() {
	*l = Loop{
		rules: l.rules, book: history.New(tables.DaemonSets.GVK()), sets: map[types.UID]object.Key{}, uids: map[object.Key]types.UID{},
		choosers: map[object.Key]*chooser{}, owners: map[object.Key]types.UID{}, targets: map[object.Key]string{},
		orphans: map[string]map[object.Key]bool{}, failures: map[object.Key]map[string]int{},
		deadlines: map[object.Key]time.Time{}, dirty: map[object.Key]bool{},
	}
}

// observe marks the sets that what changed concerns.
func (l *Loop) observe(tx *store.Tx) {
	mark := func(key object.Key) { l.dirty[key] = true }
	for key := range tables.DaemonSets.Changed(tx) {
		l.observeSet(tx, key)
		mark(key)
	}
	for key := range tables.Nodes.Changed(tx) {
		for set, c := range l.choosers {
			delete(c.verdicts, key.Name)
			mark(set)
		}
	}
	for key := range tables.Pods.Changed(tx) {
		l.observePod(tx, key)
	}
	for key := range tables.ControllerRevisions.Changed(tx) {
		if orphan := l.book.Observe(tx, key, mark); orphan != nil {
			l.markSelecting(tx, key.Namespace, orphan.Labels)
		}
	}
	for key := range tables.Namespaces.Changed(tx) {
		l.markIn(tx, key.Name)
	}
	for key := range tables.ResourceQuotas.Changed(tx) {
		l.markIn(tx, key.Namespace)
	}
	for key, at := range l.deadlines {
		if !tx.Now().Before(at) {
			mark(key)
		}
	}
}

func (l *Loop) markIn(tx *store.Tx, namespace string) {
	for row := range tables.DaemonSets.Rows(tx, namespace) {
		l.dirty[row.Key()] = true
	}
}

func (l *Loop) markSelecting(tx *store.Tx, namespace string, set map[string]string) {
	for d := range tables.DaemonSets.In(tx, namespace) {
		if selector(d).Matches(labels.Set(set)) {
			l.dirty[object.KeyOf(d)] = true
		}
	}
}

// observeSet keeps how a set is found and how it judges nodes.
func (l *Loop) observeSet(tx *store.Tx, key object.Key) {
	was := l.uids[key]
	delete(l.sets, was)
	delete(l.uids, key)
	d, ok := tables.DaemonSets.Get(tx, key)
	if !ok {
		delete(l.choosers, key)
		delete(l.failures, key)
		return
	}
	l.sets[d.UID], l.uids[key] = key, d.UID
	if c := l.choosers[key]; c == nil || c.generation != d.Generation || c.uid != d.UID {
		l.choosers[key] = newChooser(d)
	}
	if was == d.UID {
		return
	}
	for row := range tables.Pods.By(tx, tables.OwnerIndex, string(d.UID)) {
		if row.Head().Owner == d.UID {
			l.own(row)
		}
	}
}

// observePod marks the set that had the pod, the one that has it, and if none
// has it those that select it.
func (l *Loop) observePod(tx *store.Tx, key object.Key) {
	if was, ok := l.owners[key]; ok {
		l.markOwner(was)
		delete(l.owners, key)
	}
	delete(l.targets, key)
	delete(l.orphans[key.Namespace], key)
	row, ok := tables.Pods.Row(tx, key)
	if !ok {
		return
	}
	h := row.Head()
	if h.Owner == "" {
		if l.orphans[key.Namespace] == nil {
			l.orphans[key.Namespace] = map[object.Key]bool{}
		}
		l.orphans[key.Namespace][key] = true
		l.markSelecting(tx, key.Namespace, h.Labels)
		return
	}
	if _, ours := l.sets[h.Owner]; !ours {
		return
	}
	l.own(row)
}

// own remembers whose a pod is and, where it waits for a node, which.
func (l *Loop) own(row store.Row[*corev1.Pod, *tables.PodHead]) {
	h := row.Head()
	l.owners[row.Key()] = h.Owner
	l.markOwner(h.Owner)
	if h.Node == "" {
		l.targets[row.Key()] = pinned(row.Object())
	}
}

func (l *Loop) markOwner(uid types.UID) {
	if key, ok := l.sets[uid]; ok {
		l.dirty[key] = true
	}
}

// selector returns what the set selects; nothing where it says nothing.
func selector(d *appsv1.DaemonSet) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || sel.Empty() {
		return labels.Nothing()
	}
	return sel
}
