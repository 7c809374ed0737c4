package whatif

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/object/plan"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const (
	// podsMax bounds the pods that one question may make.
	podsMax = 250_000
	// horizon is how far time goes on in a fork.
	horizon = time.Minute
	// ticksMax bounds how long loops are waited for that do not come to rest.
	ticksMax = 10_000
)

// Config configures a Planner. All of it is required.
type Config struct {
	Store *store.Store
	// Loops returns new loops, in the order in which they feed each other.
	Loops func() []loop.Reconciler
	Now   func() time.Time
}

// Planner answers questions.
type Planner struct {
	cfg  Config
	turn chan struct{}
}

// New returns a Planner.
func New(cfg Config) *Planner { return &Planner{cfg, make(chan struct{}, 1)} }

// Question is what would be done: the objects put, as admission has made them, and then the nodes
// drained.
type Question struct {
	Put   []Put
	Drain []string
}

// Put is an object that would be written.
type Put struct {
	Table  *store.Table[store.Object, any]
	Key    object.Key // in the table
	Object store.Object
}

// trial is a fork in which a question is tried.
type trial struct {
	q    Question
	base *store.Snapshot
	fork *store.Store
	run  *loop.Runner
	now  time.Time
	end  time.Time

	world   *world
	planned map[types.UID]bool // the objects put
	moved   map[object.Key]types.UID
	blocked map[object.Key]plan.Blocked
}

// Answer says what would happen. It fails with kind.NotFound where a node is not there, with kind.Invalid
// where the question is too large, and with ctx's error.
func (p *Planner) Answer(ctx context.Context, q Question) (*plan.Status, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t := &trial{q: q, base: p.cfg.Store.Snapshot(), now: p.cfg.Now(), planned: map[types.UID]bool{}, moved: map[object.Key]types.UID{}, blocked: map[object.Key]plan.Blocked{}}
	t.end = t.now.Add(horizon)
	for _, name := range q.Drain {
		if _, ok := tables.Nodes.Row(t.base, object.Key{Name: name}); !ok {
			return nil, kind.New(kind.NotFound, "drain: nodes %q not found", name)
		}
	}
	clock := func() time.Time { return t.now }
	var err error
	if t.fork, err = p.cfg.Store.Fork(t.base, store.Config{Now: clock, HistoryEvents: 2 * loop.StepWritesMax}); err != nil {
		return nil, err
	}
	t.world = &world{base: t.base}
	t.run = loop.New(t.fork, loop.Config{Now: clock, Resync: 2 * horizon}, append(p.cfg.Loops(), t.world)...)
	if err := t.play(ctx); err != nil {
		return nil, err
	}
	return t.answer(), nil
}

// play does what is asked and lets the loops come to rest.
func (t *trial) play(ctx context.Context) error {
	if _, err := t.fork.Update(ctx, func(tx *store.Tx) error { t.put(tx); return nil }); err != nil {
		return err
	}
	for {
		if err := t.settle(ctx); err != nil {
			return err
		}
		if len(t.q.Drain) == 0 {
			return nil
		}
		if gone, err := t.evict(ctx); err != nil || gone == 0 {
			return err
		}
	}
}

func (t *trial) put(tx *store.Tx) {
	for _, p := range t.q.Put {
		if old, ok := p.Table.Get(tx, p.Key); ok { // one that was there keeps who it is
			p.Object.SetUID(old.GetUID())
			p.Object.SetCreationTimestamp(old.GetCreationTimestamp())
		}
		p.Table.PutAt(tx, p.Key, p.Object)
		t.planned[p.Object.GetUID()] = true
	}
	for _, name := range t.q.Drain {
		n, _ := tables.Nodes.Get(tx, object.Key{Name: name})
		next := *n
		next.Spec.Unschedulable = true
		tables.Nodes.Put(tx, &next)
	}
}

// settle lets the loops come to rest, and time go on where they wait for it.
func (t *trial) settle(ctx context.Context) error {
	for range ticksMax {
		again, next, err := t.run.Tick(ctx)
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case t.world.made > podsMax:
			return kind.New(kind.Invalid, "objects: they make more than %d pods: ask for fewer replicas", podsMax)
		case again:
		case next.After(t.now) && next.Before(t.end):
			t.now = next
		default:
			return nil
		}
	}
	return kind.New(kind.Internal, "planning: the loops do not come to rest")
}
