package mesos

import (
	"maps"
	"slices"
	"time"

	"trireme/internal/loop"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Drains is the loop mesos/drain.
type Drains struct {
	draining map[string]bool // nodes
	marked   map[string]bool // of these, that are to be looked at
}

// NewDrains returns the loop.
func NewDrains() *Drains { return &Drains{} }

// The methods of loop.Reconciler.

func (l *Drains) Name() string { return "mesos/drain" }

func (l *Drains) Reads() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.MesosTasks.ID()}
}

func (l *Drains) Writes() []store.TableID { return l.Reads() }

func (l *Drains) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		*l = Drains{map[string]bool{}, map[string]bool{}}
		for a := range tables.MesosAgents(tx) {
			l.observe(a.Name, a)
		}
	}
	for at := range tables.CustomObjects.Changed(tx) {
		if plural, name, ok := tables.IsMesos(at); ok && plural == mesos.Agents.Resource {
			a, _ := tables.MesosAgent(tx, name)
			l.observe(name, a)
		}
	}
	if len(l.draining) > 0 {
		for key := range tables.MesosTasks.Changed(tx) {
			if t, ok := tables.MesosTasks.Get(tx, key); ok && l.draining[t.Node] {
				l.marked[t.Node] = true
			}
		}
	}
	start := tx.Writes()
	for _, node := range slices.Sorted(maps.Keys(l.marked)) {
		if tx.Writes()-start >= loop.StepWritesMax {
			return tx.Now(), nil
		}
		delete(l.marked, node)
		if err := l.look(tx, node); err != nil {
			return next, err
		}
	}
	return next, nil
}

func (l *Drains) observe(node string, a *mesos.Agent) {
	if a == nil || a.Spec.Drain == nil || a.Spec.Gone {
		delete(l.draining, node)
		delete(l.marked, node)
		return
	}
	l.draining[node], l.marked[node] = true, true
}

// look has the tasks of an agent that is drained end. One that has none left is drained, and gone
// where that was asked for.
func (l *Drains) look(tx *store.Tx, node string) error {
	a, ok := tables.MesosAgent(tx, node)
	if !ok || a.Spec.Drain == nil || a.Spec.Gone {
		return nil
	}
	left := false
	for row := range tables.MesosTasks.By(tx, tables.MesosByNode, node) {
		t := row.Object()
		if t.Completed != nil {
			continue
		}
		if left = true; t.Kill != nil || mesos.Terminal(t.State) {
			continue
		}
		next := t.Clone()
		next.Kill = &mesos.Kill{Grace: graceWithin(t, a.Spec.Drain), Cause: mesosv1.TaskStatus_REASON_AGENT_DRAINING, By: mesosv1.TaskStatus_SOURCE_AGENT}
		tables.MesosTasks.Put(tx, next)
	}
	if left || !a.Spec.Drain.MarkGone {
		return nil
	}
	a.Spec.Gone = true
	return tables.PutMesosAgent(tx, a)
}

// graceWithin returns how long a task gets to end; nil: what it says itself, which is no more than
// the operator gives.
func graceWithin(t *mesos.Task, d *mesos.Drain) *time.Duration {
	if d.MaxGrace == nil {
		return nil
	}
	own := mesos.DefaultGrace
	if p := t.Info.GetKillPolicy().GetGracePeriod(); p != nil {
		own = time.Duration(p.GetNanoseconds())
	}
	if own <= d.MaxGrace.Duration {
		return nil
	}
	return &d.MaxGrace.Duration
}
