package pressure

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
)

// Meter measures. What it cannot measure it leaves out.
type Meter interface {
	// Node returns what the node has left.
	Node(ctx context.Context) map[Signal]Amount
	// Pods returns what the pods use that have not ended, of those only that want
	// returns true of.
	Pods(ctx context.Context, want func(*corev1.Pod) bool) ([]Usage, error)
}

// Agent is what ends pods.
type Agent interface {
	// Evict fails the pod; it is given grace to end, nil: its own. gone is closed when
	// nothing of it runs any more, nil where it is not there.
	Evict(uid types.UID, message string, grace *int64) (gone <-chan struct{})
	// Reclaim gives back disk that nobody uses.
	Reclaim(ctx context.Context) error
	// PressureChanged says that Conditions has another answer.
	PressureChanged(ctx context.Context)
}

// Manager watches one node.
type Manager struct {
	rules *Rules
	meter Meter
	agent Agent
	log   *slog.Logger
	state *state
	limit time.Time // when limits of disk are looked at again

	mu         sync.Mutex
	conditions map[corev1.NodeConditionType]bool
}

// New returns a Manager that does not run yet.
func New(r *Rules, m Meter, a Agent, log *slog.Logger) *Manager {
	return &Manager{rules: r, meter: m, agent: a, log: log, state: newState()}
}

// How often the node is looked at, and pods with limits of disk; how long an evicted
// pod may take to end before the next one goes.
const (
	every      = 2 * time.Second
	limitEvery = 10 * time.Second
	goneWait   = 30 * time.Second
)

// Run watches the node until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		m.look(ctx)
	}
}

// Conditions returns which of the conditions of pressure hold.
func (m *Manager) Conditions() map[corev1.NodeConditionType]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conditions
}

// look is one round: measure, say so, evict at most one pod for pressure.
func (m *Manager) look(ctx context.Context) {
	now := time.Now()
	due := m.state.step(m.rules, now, m.meter.Node(ctx))
	m.say(ctx, m.state.conditions(m.rules, now))
	if len(due) > 0 {
		m.relieve(ctx, due[0])
	}
	if !now.Before(m.limit) {
		m.limit = now.Add(limitEvery)
		m.enforce(ctx)
	}
}

func (m *Manager) say(ctx context.Context, conditions map[corev1.NodeConditionType]bool) {
	m.mu.Lock()
	changed := !maps.Equal(m.conditions, conditions)
	m.conditions = conditions
	m.mu.Unlock()
	if changed {
		m.agent.PressureChanged(ctx)
	}
}

// relieve gives back what nobody uses and, where that is not enough, evicts the
// pod that is first in rank, and waits until it is gone.
func (m *Manager) relieve(ctx context.Context, t met) {
	if conditionOf(t.signal) == corev1.NodeDiskPressure {
		if err := m.agent.Reclaim(ctx); err != nil {
			m.log.Warn("giving back disk that nobody uses", "err", err)
		}
		if has, ok := m.meter.Node(ctx)[t.signal]; !ok || has.Available >= t.amount.of(has.Capacity)+t.reclaim.of(has.Capacity) {
			return
		}
	}
	pods, err := m.meter.Pods(ctx, func(*corev1.Pod) bool { return true })
	if err != nil {
		m.log.Error("measuring pods", "err", err)
		return
	}
	for _, u := range Rank(t.signal, pods) {
		grace := new(int64)
		if !t.hard {
			*grace = min(m.rules.podGraceMax, graceOf(u.Pod))
		}
		if m.evict(ctx, &u, t.message(&u), grace) {
			return
		}
	}
	m.log.Warn("no pod is left to evict", "signal", string(t.signal), "available", t.has.Available)
}

func graceOf(p *corev1.Pod) int64 {
	if g := p.Spec.TerminationGracePeriodSeconds; g != nil {
		return *g
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}

func (m *Manager) evict(ctx context.Context, u *Usage, message string, grace *int64) bool {
	gone := m.agent.Evict(u.Pod.UID, message, grace)
	if gone == nil {
		return false
	}
	m.log.Warn("evicting a pod", "pod", object.KeyOf(u.Pod).String(), "why", message)
	t := time.NewTimer(goneWait)
	defer t.Stop()
	select {
	case <-gone:
	case <-t.C:
	case <-ctx.Done():
	}
	return true
}

// localGrace is what a pod gets that uses more disk than it may.
const localGrace = 1

// enforce evicts the pods that use more local disk than they may.
func (m *Manager) enforce(ctx context.Context) {
	pods, err := m.meter.Pods(ctx, Limited)
	if err != nil {
		m.log.Error("measuring the disk of pods", "err", err)
		return
	}
	for i := range pods {
		u := &pods[i]
		if why := Overuse(u); why != "" && !object.CriticalPod(u.Pod) {
			grace := int64(localGrace)
			m.agent.Evict(u.Pod.UID, why, &grace)
		}
	}
}
