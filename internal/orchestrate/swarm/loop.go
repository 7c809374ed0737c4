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
	pods     map[object.Key]known
	moves    map[object.Key]int // of a service: its tasks that are to be moved
	waiting  dependents
	agenda   loop.Agenda
	history  int64 // tasks that a slot keeps; negative: all
}

// known is what the loop last saw of a pod.
type known struct {
	service object.Key
	stand   stand
	moves   bool // it is live, and to be moved
}

// New returns the loop.
func New(rules sow.Rules) *Loop { return &Loop{rules: rules} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/swarm" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.Pods.ID(), tables.Nodes.ID(), tables.Services.ID(),
		tables.Namespaces.ID(), tables.ResourceQuotas.ID(), tables.Refusals.ID(), tables.Secrets.ID(), tables.ConfigMaps.ID(), tables.HorizontalPodAutoscalers.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return append(sow.Writes(), tables.CustomObjects.ID(), tables.Services.ID(), tables.Secrets.ID(), tables.HorizontalPodAutoscalers.ID(), tables.Events.ID())
}

func (l *Loop) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		*l = Loop{rules: l.rules, services: map[object.Key]*swarm.Service{}, keys: map[types.UID]object.Key{}, pods: map[object.Key]known{}, moves: map[object.Key]int{}, history: swarm.HistoryMax}
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
	if len(l.services) == 0 && len(l.pods) == 0 {
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
	for key := range tables.HorizontalPodAutoscalers.Changed(tx) {
		l.mark(key)
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
	l.markWaiting(key)
}

func (l *Loop) markWaiting(key object.Key) {
	for other := range l.waiting.wait[key] {
		l.agenda.Mark(other)
	}
}

// observePod marks the service of a pod that stands otherwise than it did. Whether it runs
// and is ready matters to services only that replace tasks.
func (l *Loop) observePod(tx *store.Tx, key object.Key) {
	was, had := l.pods[key]
	delete(l.pods, key)
	l.count(was, -1)
	now, has := known{}, false
	if row, ok := tables.Pods.Row(tx, key); ok {
		if now.service, has = l.keys[row.Head().Owner]; has {
			now.stand = standOf(row.Head())
			now.moves = now.stand == live && moves(row.Head())
			l.pods[key] = now
		}
	}
	l.count(now, 1)
	if had && was != now {
		l.markAll(was.service)
	}
	if !has {
		return
	}
	l.markWaiting(now.service)
	if was != now || l.services[now.service].Replaces() || l.moves[now.service] > 0 {
		l.agenda.Mark(now.service)
	}
}

// count counts a task that is to be moved.
func (l *Loop) count(k known, n int) {
	if !k.moves {
		return
	}
	if l.moves[k.service] += n; l.moves[k.service] == 0 {
		delete(l.moves, k.service)
	}
}
