package daemonset

import (
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

	book     *history.Book
	sets     map[types.UID]object.Key
	crews    map[object.Key]*crew           // by set
	places   map[object.Key]placed          // of pods
	orphans  map[string]map[object.Key]bool // pods without a controller, by namespace
	failures map[object.Key]map[string]int  // pods that ended in a row, by set and node
	agenda   loop.Agenda
}

// placed is whose a pod is, and on which node or meant for which.
type placed struct {
	set  object.Key
	node string
}

// New returns the loop.
func New(rules sow.Rules) *Loop { return &Loop{rules: rules} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/daemonset" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.DaemonSets.ID(), tables.Pods.ID(), tables.Nodes.ID(), tables.ControllerRevisions.ID(),
		tables.Namespaces.ID(), tables.ResourceQuotas.ID(), tables.Refusals.ID()}
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
	for _, key := range l.agenda.Due(tx.Now()) {
		if tx.Writes()-start >= loop.StepWritesMax {
			break // the rest stays due: this step has written pods
		}
		l.agenda.Take(key)
		d, ok := tables.DaemonSets.Get(tx, key)
		if !ok {
			continue
		}
		s := &step{loop: l, tx: tx, set: d, key: key, crew: l.crews[key]}
		s.run()
		for _, at := range s.crew.waiting {
			s.wake(at)
		}
		l.agenda.At(key, s.next)
	}
	return l.agenda.Next(), nil
}

func (l *Loop) reset() {
	*l = Loop{
		rules: l.rules, book: history.New(tables.DaemonSets.GVK()), sets: map[types.UID]object.Key{}, crews: map[object.Key]*crew{},
		places: map[object.Key]placed{}, orphans: map[string]map[object.Key]bool{}, failures: map[object.Key]map[string]int{},
	}
}

// observe takes in what changed and marks the sets that it concerns.
func (l *Loop) observe(tx *store.Tx) {
	mark := l.agenda.Mark
	for key := range tables.DaemonSets.Changed(tx) {
		l.observeSet(tx, key)
		mark(key)
	}
	for key := range tables.Nodes.Changed(tx) {
		for set, c := range l.crews {
			c.see(tx, key.Name)
			mark(set)
		}
	}
	for key := range tables.Pods.Changed(tx) {
		l.observePod(tx, key)
	}
	for key := range tables.ControllerRevisions.Changed(tx) {
		if orphan := l.book.Observe(tx, key, mark); orphan != nil {
			for set, c := range l.crews {
				if set.Namespace == key.Namespace && c.selector.Matches(labels.Set(orphan.Labels)) {
					mark(set)
				}
			}
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
	for row := range tables.DaemonSets.Rows(tx, namespace) {
		l.agenda.Mark(row.Key())
	}
}

// observeSet keeps the set's crew, a new one where what it asks for is new.
func (l *Loop) observeSet(tx *store.Tx, key object.Key) {
	d, ok := tables.DaemonSets.Get(tx, key)
	was := l.crews[key]
	if was != nil && ok && was.uid == d.UID && was.generation == d.Generation {
		return
	}
	if was != nil {
		delete(l.sets, was.uid)
		delete(l.crews, key)
	}
	if !ok {
		delete(l.failures, key)
		return
	}
	l.sets[d.UID] = key
	l.crews[key] = newCrew(l, tx, d)
}

// observePod takes a pod out of the crew that had it and puts it into the one
// that has it; if none has it, those that select it are told.
func (l *Loop) observePod(tx *store.Tx, key object.Key) {
	if was, ok := l.places[key]; ok {
		if c := l.crews[was.set]; c != nil {
			c.at(tx, was.node).remove(key)
			l.agenda.Mark(was.set)
		}
		delete(l.places, key)
	}
	delete(l.orphans[key.Namespace], key)
	row, ok := tables.Pods.Row(tx, key)
	if !ok {
		return
	}
	if row.Head().Owner == "" {
		l.orphan(key, row.Head())
		return
	}
	if set, ours := l.sets[row.Head().Owner]; ours {
		l.agenda.Mark(set)
		l.place(tx, l.crews[set], row)
	}
}

func (l *Loop) orphan(key object.Key, h *tables.PodHead) {
	if l.orphans[key.Namespace] == nil {
		l.orphans[key.Namespace] = map[object.Key]bool{}
	}
	l.orphans[key.Namespace][key] = true
	for set, c := range l.crews {
		if set.Namespace == key.Namespace && c.selector.Matches(labels.Set(h.Labels)) {
			c.adopts[key] = true
			l.agenda.Mark(set)
		}
	}
}

// place puts a pod into its crew: on its node, or the one it asks for.
func (l *Loop) place(tx *store.Tx, c *crew, row store.Row[*corev1.Pod, *tables.PodHead]) {
	h, key := row.Head(), row.Key()
	node := h.Node
	if node == "" {
		node = pinned(row.Object())
	}
	l.places[key] = placed{l.sets[h.Owner], node}
	c.at(tx, node).put(pod{key, h})
}

// selector returns what the set selects; nothing where it says nothing.
func selector(d *appsv1.DaemonSet) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || sel.Empty() {
		return labels.Nothing()
	}
	return sel
}
