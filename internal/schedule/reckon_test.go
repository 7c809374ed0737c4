package schedule

import (
	"context"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trireme/internal/object"
	"trireme/internal/schedule/budget"
	"trireme/internal/store"
)

// TestReckons puts random cells before the preemption that reckons with numbers and before the trials of every node: they must
// agree on the victims of each node, and on the best candidate.
func TestReckons(t *testing.T) {
	st := newStore(t)
	told, found := 0, 0
	_, err := st.Update(context.Background(), func(tx *store.Tx) error {
		for seed := range uint64(60) {
			w := newWorld(tx, seed)
			s := New(Config{})
			s.cell, s.budgets = w.cell, budget.Step{}
			for range 60 {
				w.disturb()
				p := w.pod()
				w.ask(t, p)
				if n := w.classes[w.cell.keyOf(p)].best(w.cell); n != nil {
					w.cell.take(n, useOf(w.classes[w.cell.keyOf(p)], p))
				}
				high := w.pod()
				priority := []int32{math.MaxInt32, 1, 0}[w.rng.IntN(3)]
				high.Spec.Priority = &priority
				cl, key := newClass(tx, high, w.cell), object.KeyOf(high)
				var best *candidate
				for _, n := range w.cell.byName() {
					plain := s.trial(tx, cl, n, key)
					if c, ok := s.reckon(tx, cl, n, key); ok {
						told++
						if d := cmp.Diff(victims(plain), victims(c)); d != "" {
							t.Errorf("seed %d, pod %s on %s (-trial +reckoned):\n%s", seed, high.Name, n.name, d)
						}
					}
					if plain != nil && (best == nil || plain.compare(best) < 0) {
						best = plain
					}
				}
				free := best != nil && len(best.victims) == 0 // who finds such a node looks no further
				if got := s.cheapest(tx, cl, key); !free {
					if d := cmp.Diff(victims(best), victims(got)); d != "" {
						t.Errorf("seed %d, pod %s: cheapest (-all +found):\n%s", seed, high.Name, d)
					}
				}
				if best != nil && !free {
					found++
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if told < 5000 || found < 300 {
		t.Errorf("%d nodes were reckoned and %d pods found victims: the cells are not what they should be", told, found)
	}
}

func victims(c *candidate) (out []string) {
	if c == nil {
		return nil
	}
	out = append(out, c.node.name)
	for _, u := range c.victims {
		out = append(out, u.key.String())
	}
	return out
}
