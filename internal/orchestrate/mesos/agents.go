package mesos

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// silenceMax is how long a node must have been silent, beyond the manager's own
// patience, for its agent to be unreachable: together Mesos' 75 s (5 pings of 15 s).
const silenceMax = 60 * time.Second

// Agents is the loop mesos/agents.
type Agents struct {
	silenceMax time.Duration
	silent     map[string]time.Time // nodes that do not answer, and when their agents become unreachable
}

// NewAgents returns the loop. The agent of a node whose readiness is unknown for so long is
// unreachable; 0: 60 s.
func NewAgents(silence time.Duration) *Agents {
	return &Agents{silenceMax: cmp.Or(silence, silenceMax)}
}

// The methods of loop.Reconciler.

func (l *Agents) Name() string { return "mesos/agents" }

func (l *Agents) Reads() []store.TableID {
	return []store.TableID{tables.Nodes.ID(), tables.CustomObjects.ID(), tables.Namespaces.ID()}
}

func (l *Agents) Writes() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.Namespaces.ID()}
}

func (l *Agents) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.silent = map[string]time.Time{}
		for a := range tables.MesosAgents(tx) {
			if err := l.look(tx, a.Name); err != nil {
				return next, err
			}
		}
	}
	for at := range tables.CustomObjects.Changed(tx) {
		if plural, name, ok := tables.IsMesos(at); ok && plural == mesos.Agents.Resource {
			if err := l.look(tx, name); err != nil {
				return next, err
			}
		}
	}
	for key := range tables.Nodes.Changed(tx) {
		if err := l.look(tx, key.Name); err != nil {
			return next, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.silent)) {
		due := l.silent[name]
		if !tx.Now().Before(due) {
			if err := l.look(tx, name); err != nil {
				return next, err
			}
		} else if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next, nil
}

// look brings the Agent of a node up to date.
func (l *Agents) look(tx *store.Tx, name string) error {
	delete(l.silent, name)
	node, ok := tables.Nodes.Get(tx, object.Key{Name: name})
	agent, has := tables.MesosAgent(tx, name)
	if !ok {
		if has {
			tables.CustomObjects.Delete(tx, tables.MesosAgentKey(name))
		}
		return nil
	}
	if !has {
		agent = &mesos.Agent{}
		agent.Name = name
	}
	changed := !has
	if agent.Status.ID == "" {
		id, ok := nextAgent(tx)
		if !ok {
			return nil // the cluster is being made
		}
		now := metav1.NewTime(tx.Now().Truncate(time.Second))
		agent.Status.ID, agent.Status.Registered, changed = id, &now, true
	}
	if l.reach(tx, node, agent) || changed {
		return tables.PutMesosAgent(tx, agent)
	}
	return nil
}

// nextAgent takes the next id of an agent.
func nextAgent(tx *store.Tx) (string, bool) {
	system, ok := tables.Namespaces.Get(tx, object.Key{Name: metav1.NamespaceSystem})
	if !ok {
		return "", false
	}
	system = system.DeepCopy()
	n := mesos.Next(system, mesos.AgentsAnnotation)
	tables.Namespaces.Put(tx, system)
	return mesos.AgentID(mesos.MasterID(system), n), true
}

// reach notes whether the agent is reached, and reports whether that is new.
func (l *Agents) reach(tx *store.Tx, node *corev1.Node, a *mesos.Agent) bool {
	var since time.Time
	for i := range node.Status.Conditions {
		if c := &node.Status.Conditions[i]; c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown {
			since = c.LastTransitionTime.Time
		}
	}
	if since.IsZero() {
		if a.Status.Unreachable == nil {
			return false
		}
		now := metav1.NewTime(tx.Now().Truncate(time.Second))
		a.Status.Unreachable, a.Status.Reregistered = nil, &now
		return true
	}
	due := since.Add(l.silenceMax)
	if a.Status.Unreachable != nil || tx.Now().Before(due) {
		if a.Status.Unreachable == nil {
			l.silent[node.Name] = due
		}
		return false
	}
	at := metav1.NewTime(due)
	a.Status.Unreachable = &at
	return true
}
