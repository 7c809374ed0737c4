package rebalance

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// teller is whom events come from.
const teller = "rebalancer"

// movingMax is how many owners have pods on the move at once.
const movingMax = 10

// Loop is the control loop that moves pods.
type Loop struct {
	owners map[types.UID]*owner
	uids   map[ref]types.UID
	spaces map[string]string // what namespaces say that say something
	moving map[types.UID]bool
	labels map[string]map[string]string // of nodes
	agenda loop.Agenda                  // of owners, see at
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/rebalance" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.Nodes.ID(), tables.PodDisruptionBudgets.ID(), tables.ReplicaSets.ID(), tables.ReplicationControllers.ID(),
		tables.StatefulSets.ID(), tables.CustomObjects.ID(), tables.Namespaces.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.Nodes.ID(), tables.PodDisruptionBudgets.ID(), tables.Events.ID()}
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		*l = Loop{owners: map[types.UID]*owner{}, uids: map[ref]types.UID{}, spaces: map[string]string{}, moving: map[types.UID]bool{}, labels: map[string]map[string]string{}}
	}
	before := len(l.owners)
	l.observeOwners(tx)
	l.observeNodes(tx, before == 0)
	if len(l.owners) == 0 {
		return next, nil
	}
	for key := range tables.Pods.Changed(tx) {
		if row, ok := tables.Pods.Row(tx, key); ok {
			if o := l.owners[row.Head().Owner]; o != nil {
				l.agenda.Mark(o.at())
			}
		}
	}
	for key := range tables.PodDisruptionBudgets.Changed(tx) {
		l.markAll(key.Namespace)
	}
	start, s := tx.Writes(), &step{tx: tx}
	for _, at := range l.agenda.Due(tx.Now()) {
		if tx.Writes()-start >= loop.StepWritesMax {
			return tx.Now(), nil // the rest stays due
		}
		l.agenda.Take(at)
		if o := l.owners[types.UID(at.Name)]; o != nil {
			l.agenda.At(at, l.look(s, o))
		}
	}
	return l.agenda.Next(), nil
}

// markAll puts the owners in a namespace on the agenda; "": all.
func (l *Loop) markAll(namespace string) {
	for _, o := range l.owners {
		if namespace == "" || o.namespace == namespace {
			l.agenda.Mark(o.at())
		}
	}
}

// observeNodes notes on nodes since when they take pods. While there are no owners no more is done
// than to take back what is true no more; all: there were none until now.
func (l *Loop) observeNodes(tx *store.Tx, all bool) {
	changed := false
	note := func(key object.Key) {
		n, ok := tables.Nodes.Get(tx, key)
		if !ok {
			delete(l.labels, key.Name)
			return
		}
		if changed = changed || !maps.Equal(l.labels[key.Name], n.Labels); len(n.Labels) > 0 {
			l.labels[key.Name] = n.Labels
		}
		_, noted := n.Annotations[object.OpenSinceAnnotation]
		if is := open(n); is == noted || is && len(l.owners) == 0 {
			return
		}
		next := n.DeepCopy()
		if noted {
			delete(next.Annotations, object.OpenSinceAnnotation)
		} else {
			if next.Annotations == nil {
				next.Annotations = map[string]string{}
			}
			next.Annotations[object.OpenSinceAnnotation] = tx.Now().UTC().Format(time.RFC3339)
			changed = true
		}
		tables.Nodes.Put(tx, next)
	}
	for key := range tables.Nodes.Changed(tx) {
		note(key)
	}
	if all && len(l.owners) > 0 {
		for row := range tables.Nodes.Rows(tx, "") {
			note(row.Key())
		}
	}
	if changed {
		l.markAll("")
	}
}

// look moves pods of the owner, if it is time, and returns when to look again by itself.
func (l *Loop) look(s *step, o *owner) (again time.Time) {
	opt, err := object.ReadRebalance(o.text)
	if err != nil {
		o.tell(s.tx, tell.Event{From: teller, Type: corev1.EventTypeWarning, Reason: "BadRebalance", Message: object.RebalanceKey + ": " + err.Error()})
	}
	if opt == nil {
		return again
	}
	v := s.view(o)
	delete(l.moving, o.uid)
	if until := v.fresh.Add(movesWithin); v.restless && s.tx.Now().Before(until) {
		l.moving[o.uid] = true
		again = until
	}
	if v.restless || len(v.pods) != o.wants {
		return again
	}
	if at := v.fresh.Add(opt.Pause); s.tx.Now().Before(at) {
		return at
	}
	moves, again := s.plan(v, opt)
	if len(moves) > 0 && len(l.moving) >= movingMax {
		return s.tx.Now().Add(retryBusy)
	}
	for _, m := range moves {
		if !s.move(o, m) {
			return s.tx.Now().Add(max(opt.Pause, retryBusy))
		}
		l.moving[o.uid] = true
	}
	return again
}

const (
	// movesWithin is how long a pod may take to come until its owner counts no more as one on the move.
	movesWithin = 2 * time.Minute
	// retryBusy is when an owner is looked at again that was not let.
	retryBusy = 5 * time.Second
)
