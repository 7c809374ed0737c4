package measure

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

const (
	// Every is how often agents are asked.
	Every = 15 * time.Second
	// askFor bounds one question, atOnce how many are asked at a time, staleAfter how
	// long a sample counts.
	askFor     = 8 * time.Second
	atOnce     = 32
	staleAfter = time.Minute
	// firstGap is the time to the second round, so that rates are known soon.
	firstGap = 3 * time.Second
)

// Config configures a Measurer. TLS and Log are required.
type Config struct {
	TLS *tls.Config // shown to agents
	Log *slog.Logger
	Now func() time.Time // nil: time.Now
}

// Measurer asks agents for samples.
type Measurer struct {
	store  *store.Store
	cfg    Config
	ask    func(ctx context.Context, address string) (*summary, error)
	last   map[string]reading // by what is counted
	silent map[string]bool    // nodes that did not answer
}

// reading is a counter at a time, and how fast it grew until then.
type reading struct {
	at     time.Time
	value  float64
	rate   float64 // a second
	window time.Duration
	known  bool // rate is
	round  int
}

// New returns a Measurer of the store's nodes.
func New(s *store.Store, cfg Config) *Measurer {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Measurer{store: s, cfg: cfg, ask: newAgents(cfg.TLS).ask, last: map[string]reading{}, silent: map[string]bool{}}
}

// Run measures until ctx ends or the store dies.
func (m *Measurer) Run(ctx context.Context) error {
	gap := firstGap
	for round := 0; ; round++ {
		if err := m.round(ctx, round); err != nil {
			return err
		}
		select {
		case <-time.After(gap):
		case <-m.store.Dead():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		if round > 0 {
			gap = Every
		}
	}
}

// answer is what one node said, and when.
type answer struct {
	node string
	at   time.Time
	*summary
}

// round asks every agent once and writes what they said.
func (m *Measurer) round(ctx context.Context, n int) error {
	answers := m.gather(ctx)
	var nodes []*object.NodeSample
	pods := map[object.Key]*object.PodSample{}
	from := map[object.Key]string{}
	for _, a := range answers {
		nodes = append(nodes, m.node(a, n))
		for i := range a.Pods {
			p := m.pod(a, &a.Pods[i], n)
			key := object.KeyOf(p)
			pods[key], from[key] = p, a.node
		}
	}
	maps.DeleteFunc(m.last, func(_ string, r reading) bool { return r.round < n-4 })
	_, err := m.store.Update(ctx, func(tx *store.Tx) error {
		for _, s := range nodes {
			if row, ok := tables.Nodes.Get(tx, object.Key{Name: s.Name}); ok {
				next := *s
				next.Labels = row.Labels
				tables.NodeSamples.Put(tx, &next)
			}
		}
		for _, key := range slices.SortedFunc(maps.Keys(pods), object.Key.Compare) {
			row, ok := tables.Pods.Row(tx, key)
			if !ok || row.Head().UID != pods[key].UID || row.Head().Node != from[key] || row.Head().Ended() {
				continue // gone, or not this node's to speak of
			}
			next := *pods[key]
			next.Labels = row.Head().Labels
			tables.PodSamples.Put(tx, &next)
		}
		expire(tx)
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing samples: %w", err)
	}
	return nil
}

// expire drops the samples of what is gone, and those that nobody renews.
func expire(tx *store.Tx) {
	var old []object.Key
	for s := range tables.PodSamples.All(tx) {
		row, ok := tables.Pods.Row(tx, object.KeyOf(s))
		if !ok || row.Head().UID != s.UID || row.Head().Ended() || tx.Now().Sub(s.At.Time) > staleAfter {
			old = append(old, object.KeyOf(s))
		}
	}
	for _, key := range old {
		tables.PodSamples.Delete(tx, key)
	}
	old = nil
	for s := range tables.NodeSamples.All(tx) {
		_, ok := tables.Nodes.Row(tx, object.KeyOf(s))
		if !ok || tx.Now().Sub(s.At.Time) > staleAfter {
			old = append(old, object.KeyOf(s))
		}
	}
	for _, key := range old {
		tables.NodeSamples.Delete(tx, key)
	}
}

// gather asks all agents and returns the answers in order of the nodes' names.
func (m *Measurer) gather(ctx context.Context) []answer {
	var mu sync.Mutex
	var all []answer
	failed := map[string]error{}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for n := range tables.Nodes.All(m.store.Snapshot()) {
		name, address := n.Name, wire.AgentAddress(n)
		if address == "" {
			continue
		}
		g.Go(func() error {
			s, err := m.ask(ctx, address)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[name] = err
				return nil
			}
			all = append(all, answer{name, m.cfg.Now(), s})
			return nil
		})
	}
	_ = g.Wait() // no function fails
	for name, err := range failed {
		if !m.silent[name] && ctx.Err() == nil {
			m.cfg.Log.Warn("an agent does not say what its node uses", "node", name, "err", err)
		}
		m.silent[name] = true
	}
	for _, a := range all {
		delete(m.silent, a.node)
	}
	slices.SortFunc(all, func(a, b answer) int { return strings.Compare(a.node, b.node) })
	return all
}

func (m *Measurer) node(a answer, round int) *object.NodeSample {
	rate, window, _ := m.rate("node/"+a.node, float64(a.Node.CPU.Total), a.at, round)
	return &object.NodeSample{
		ObjectMeta: metav1.ObjectMeta{Name: a.node}, At: metav1.NewTime(a.at), Window: metav1.Duration{Duration: window},
		CPUNano: int64(rate), MemoryBytes: int64(a.Node.Memory.WorkingSet),
	}
}

func (m *Measurer) pod(a answer, p *podPart, round int) *object.PodSample {
	s := &object.PodSample{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Ref.Namespace, Name: p.Ref.Name, UID: p.Ref.UID}, At: metav1.NewTime(a.at),
	}
	for _, c := range p.Containers {
		at := c.CPU.Time
		if at.IsZero() {
			at = a.at
		}
		rate, window, ok := m.rate("container/"+string(p.Ref.UID)+"/"+c.Name, float64(c.CPU.Total), at, round)
		if !ok {
			if c.CPU.Now == 0 && c.CPU.Total > 0 {
				continue // not known before the second reading
			}
			rate = float64(c.CPU.Now)
		}
		s.Window.Duration = max(s.Window.Duration, window)
		s.Containers = append(s.Containers, object.ContainerUse{Name: c.Name, CPUNano: int64(rate), MemoryBytes: int64(c.Memory.WorkingSet)})
	}
	slices.SortFunc(s.Containers, func(a, b object.ContainerUse) int { return strings.Compare(a.Name, b.Name) })
	for i := range p.Series {
		r := &p.Series[i]
		value := r.Value
		if r.Type == cumulative {
			rate, _, ok := m.rate(seriesKey(p.Ref.UID, r), value, a.at, round)
			if !ok {
				continue
			}
			value = rate
		}
		s.Series = append(s.Series, object.Series{Name: r.Name, Labels: r.Labels, Value: value})
	}
	return s
}

// cumulative is the type of a series that only grows: what counts is how fast.
const cumulative = "cumulative"

func seriesKey(uid types.UID, r *seriesPart) string {
	var b strings.Builder
	fmt.Fprintf(&b, "series/%s/%s", uid, r.Name)
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		fmt.Fprintf(&b, "/%q=%q", k, r.Labels[k])
	}
	return b.String()
}

// rate returns by how much a counter grew a second since it was last read, and over what
// time; false where that is not known: it is new, or began anew.
func (m *Measurer) rate(key string, value float64, at time.Time, round int) (float64, time.Duration, bool) {
	was, ok := m.last[key]
	now := reading{at: at, value: value, round: round}
	switch {
	case ok && !at.After(was.at): // the same reading once more
		now = was
		now.round = round
	case ok && value >= was.value:
		now.window = at.Sub(was.at)
		now.rate, now.known = (value-was.value)/now.window.Seconds(), true
	}
	m.last[key] = now
	return now.rate, now.window, now.known
}
