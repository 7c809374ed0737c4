package swarm

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/object/swarm"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of swarm services.
type Loop struct {
	rules sow.Rules

	services map[object.Key]*swarm.Service
	keys     map[types.UID]object.Key
	owners   map[object.Key]object.Key // of pods
	waiting  dependents
	agenda   loop.Agenda
	history  int64 // tasks that a slot keeps; negative: all
}

// New returns the loop.
func New(rules sow.Rules) *Loop { return &Loop{rules: rules} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/swarm" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.Pods.ID(), tables.Nodes.ID(), tables.Services.ID(),
		tables.Namespaces.ID(), tables.ResourceQuotas.ID(), tables.Refusals.ID(), tables.Secrets.ID(), tables.ConfigMaps.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return append(sow.Writes(), tables.CustomObjects.ID(), tables.Services.ID(), tables.Secrets.ID(), tables.Events.ID())
}

func (l *Loop) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		*l = Loop{rules: l.rules, services: map[object.Key]*swarm.Service{}, keys: map[types.UID]object.Key{}, owners: map[object.Key]object.Key{}, history: swarm.HistoryMax}
	}
	l.observe(tx)
	start := tx.Writes()
	for _, key := range l.agenda.Due(tx.Now()) {
		if tx.Writes()-start >= loop.StepWritesMax {
			break // the rest stays due
		}
		l.agenda.Take(key)
		svc := l.services[key]
		if svc == nil || svc.DeletionTimestamp != nil {
			continue
		}
		s := &step{loop: l, tx: tx, svc: svc, key: key, room: loop.StepWritesMax}
		if err := s.run(); err != nil {
			return time.Time{}, err
		}
		l.agenda.At(key, s.next)
	}
	return l.agenda.Next(), nil
}

// observe marks the services to look at.
func (l *Loop) observe(tx *store.Tx) {
	networks := false
	for at := range tables.CustomObjects.Changed(tx) {
		if key, ok := tables.IsSwarm(at); ok {
			l.observeService(tx, key)
		} else if at == tables.SwarmClusterKey() {
			l.observeSettings(tx)
		}
		if _, ok := tables.IsNetwork(at); ok {
			networks = true
		}
	}
	for key, svc := range l.services {
		if networks && len(svc.Spec.TaskTemplate.Networks) > 0 {
			l.agenda.Mark(key)
		}
	}
	if len(l.services) == 0 && len(l.owners) == 0 {
		return
	}
	l.observeFiles(tx)
	for key := range tables.Pods.Changed(tx) {
		l.observePod(tx, key)
	}
	for key := range tables.Services.Changed(tx) {
		for _, name := range servicesFor(key) {
			l.mark(name)
		}
	}
	for range tables.Nodes.Changed(tx) {
		for key := range l.services {
			l.agenda.Mark(key)
		}
		break
	}
	again := map[string]bool{}
	for key := range tables.Namespaces.Changed(tx) {
		again[key.Name] = true
	}
	for key := range tables.ResourceQuotas.Changed(tx) {
		again[key.Namespace] = true
	}
	for key := range tables.Refusals.Changed(tx) {
		again[key.Namespace] = true
	}
	for key := range l.services {
		if again[key.Namespace] {
			l.agenda.Mark(key)
		}
	}
}

func (l *Loop) mark(key object.Key) {
	if l.services[key] != nil {
		l.agenda.Mark(key)
	}
}

func (l *Loop) observeSettings(tx *store.Tx) {
	l.history = tables.SwarmCluster(tx).Spec.History()
	for key := range l.services {
		l.agenda.Mark(key)
	}
}

func (l *Loop) observeService(tx *store.Tx, key object.Key) {
	if was := l.services[key]; was != nil {
		delete(l.keys, was.UID)
	}
	delete(l.services, key)
	l.markAll(key)
	svc, ok := tables.Swarm(tx, key)
	l.waiting.set(key, svc)
	if !ok {
		return
	}
	l.services[key], l.keys[svc.UID] = svc, key
}

// markAll marks the service, and those whose tasks wait for it.
func (l *Loop) markAll(key object.Key) {
	l.agenda.Mark(key)
	for other := range l.waiting.wait[key] {
		l.agenda.Mark(other)
	}
}

func (l *Loop) observePod(tx *store.Tx, key object.Key) {
	if was, ok := l.owners[key]; ok {
		l.markAll(was)
		delete(l.owners, key)
	}
	row, ok := tables.Pods.Row(tx, key)
	if !ok {
		return
	}
	if svc, ours := l.keys[row.Head().Owner]; ours {
		l.owners[key] = svc
		l.markAll(svc)
	}
}
