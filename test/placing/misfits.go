package placing

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/schedule"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Crowd is a full cluster in which pods end and others take their places, beside pods that fit nowhere: half of these ask for more than a node
// has, half for a label that none has.
type Crowd struct {
	Nodes   int
	Misfits int
	Kinds   int // of misfits: so many differ from each other
	Rounds  int
	store   *store.Store
	runner  *loop.Runner
}

// perRound is how many pods end, and come, in a round.
const perRound = 500

// Run runs the rounds. What is timed is the loop of the scheduler, on a store without a log, from pods that came to their nodes.
func (c Crowd) Run(ctx context.Context) (Result, error) {
	made, now := 0, time.Unix(1_900_000_000, 0)
	var err error
	c.store, err = store.Open(ctx, store.Config{Now: func() time.Time { return now }, NewID: func() types.UID { made++; return types.UID(fmt.Sprint(made)) }}, tables.Defs()...)
	if err != nil {
		return Result{}, err
	}
	c.runner = loop.New(c.store, loop.Config{Now: func() time.Time { return now }}, schedule.New(schedule.Config{}))
	if err := c.update(ctx, func(tx *store.Tx) {
		for i := range c.Nodes {
			tables.Nodes.Put(tx, PlainNode(i))
		}
		for i := range 4 * c.Nodes {
			tables.Pods.Put(tx, fitting(i))
		}
	}); err != nil {
		return Result{}, err
	}
	for from := 0; from < c.Misfits; from += 10_000 {
		if err := c.update(ctx, func(tx *store.Tx) {
			for i := from; i < min(c.Misfits, from+10_000); i++ {
				tables.Pods.Put(tx, misfit(i, i%c.Kinds))
			}
		}); err != nil {
			return Result{}, err
		}
	}
	out := Result{}
	for round := range c.Rounds {
		if err := c.round(ctx, round, &out); err != nil {
			return out, err
		}
	}
	out.PeakBytes = peak()
	return out, nil
}

// round ends pods, and times how others get their places.
func (c *Crowd) round(ctx context.Context, round int, out *Result) error {
	if err := c.update(ctx, func(tx *store.Tx) {
		for i := round * perRound; i < (round+1)*perRound; i++ {
			tables.Pods.Delete(tx, object.KeyOf(fitting(i)))
		}
	}); err != nil {
		return err
	}
	first := 4*c.Nodes + round*perRound
	if _, err := c.store.Update(ctx, func(tx *store.Tx) error {
		for i := range perRound {
			tables.Pods.Put(tx, fitting(first+i))
		}
		return nil
	}); err != nil {
		return err
	}
	cpu, start := cpuTime(), time.Now()
	if err := c.settle(ctx); err != nil {
		return err
	}
	out.Seconds += time.Since(start).Seconds()
	out.CPUSeconds += (cpuTime() - cpu).Seconds()
	for i := range perRound {
		row, ok := tables.Pods.Row(c.store.Snapshot(), object.KeyOf(fitting(first+i)))
		if !ok || row.Head().Node == "" {
			return fmt.Errorf("pod %d of round %d has no node", i, round)
		}
		out.Placed++
	}
	return nil
}

func (c *Crowd) update(ctx context.Context, f func(*store.Tx)) error {
	if _, err := c.store.Update(ctx, func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		return err
	}
	return c.settle(ctx)
}

func (c *Crowd) settle(ctx context.Context) error {
	for {
		again, _, err := c.runner.Tick(ctx)
		if err != nil || !again {
			return err
		}
	}
}

// fitting takes a quarter of a node.
func fitting(i int) *corev1.Pod { return demanding(fmt.Sprintf("fit-%06d", i), "1", 0) }

func misfit(i, kind int) *corev1.Pod {
	if kind%2 == 0 {
		return demanding(fmt.Sprintf("misfit-%06d", i), fmt.Sprintf("%dm", 10_000+kind), 0)
	}
	p := demanding(fmt.Sprintf("misfit-%06d", i), "100m", 0)
	p.Spec.NodeSelector = map[string]string{"kind": fmt.Sprint(kind)}
	return p
}
