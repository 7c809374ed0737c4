package rollout

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReplace(t *testing.T) {
	o, n := func(s Stand) Place { return Place{Old: s} }, func(s Stand) Place { return Place{New: s} }
	both := func(old, new Stand) Place { return Place{Old: old, New: new} }
	held := func(p Place) Place { p.Held = true; return p }
	one, two := Policy{Unavailable: 1, Parallelism: 1}, Policy{Unavailable: 2}
	tests := []struct {
		name   string
		policy Policy
		places []Place
		want   Moves
	}{
		{"the first goes first", one, []Place{o(Available), o(Available), o(Available)}, Moves{End: []int{0}}},
		{"one at a time", one, []Place{o(Ending), o(Available)}, Moves{}},
		{"a new pod is waited for", one, []Place{n(Coming), o(Available)}, Moves{}},
		{"an empty place is waited for", one, []Place{n(Absent), o(Available)}, Moves{}},
		{"then the next", one, []Place{n(Available), o(Available)}, Moves{End: []int{1}}},
		{"a broken old pod goes before any that works", one, []Place{o(Available), o(Coming)}, Moves{End: []int{1}}},
		{"broken old pods go one by one", one, []Place{o(Coming), o(Coming)}, Moves{End: []int{0}}},
		{"held places stay", one, []Place{o(Available), held(o(Available))}, Moves{End: []int{0}}},
		{"held places that are broken count", one, []Place{o(Available), held(o(Coming))}, Moves{}},
		{"two may be missing", two, []Place{o(Available), o(Available), o(Available)}, Moves{End: []int{0, 1}}},
		{"without parallelism all that are broken go", two, []Place{o(Coming), o(Coming), o(Coming), o(Available)}, Moves{End: []int{0, 1, 2}}},
		{"a pause holds everything", Policy{Unavailable: 1, Paused: true}, []Place{o(Coming)}, Moves{}},
		{"a new pod beside the old", Policy{Surge: 1}, []Place{o(Available), o(Available)}, Moves{Start: []int{0}}},
		{"only so many", Policy{Surge: 1}, []Place{both(Available, Coming), o(Available)}, Moves{}},
		{"the old ends when the new is available", Policy{Surge: 1}, []Place{both(Available, Available), o(Available)}, Moves{End: []int{0}, Start: []int{1}}},
		{"a broken old pod gets a new one at once", Policy{Surge: 1}, []Place{o(Available), o(Coming), o(Coming)}, Moves{Start: []int{0, 1, 2}}},
		{"and ends as soon as that is there", Policy{Surge: 1}, []Place{both(Coming, Coming)}, Moves{End: []int{0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, Replace(tt.policy, tt.places)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestRandomReplace plays rollouts over places with limits drawn from a seed: the
// promises hold at each step, and it ends.
func TestRandomReplace(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 3))
		var p Policy
		if r.IntN(2) == 0 {
			p.Surge = 1 + r.IntN(3)
		} else {
			p.Unavailable, p.Parallelism = 1+r.IntN(3), r.IntN(3)
		}
		places := make([]Place, 1+r.IntN(6))
		for i := range places {
			places[i].Old = Stand(r.IntN(4))
			if p.Surge > 0 && r.IntN(4) == 0 {
				places[i].New = Coming
			}
		}
		steps := 0
		for ; !renewed(places); steps++ {
			if steps > 100 {
				t.Fatalf("seed %d, %+v: does not end: %+v", seed, p, places)
			}
			moves := Replace(p, places)
			if fault := apply(p, places, moves); fault != "" {
				t.Fatalf("seed %d, %+v, step %d: %s: %+v of %+v", seed, p, steps, fault, moves, places)
			}
			happen(r, places)
		}
	}
}

func renewed(places []Place) bool {
	for _, p := range places {
		if p.Old != Absent || p.New != Available {
			return false
		}
	}
	return true
}

// apply carries moves out and names a promise that they break.
func apply(p Policy, places []Place, moves Moves) string {
	for _, i := range moves.End {
		if places[i].Old == Available && places[i].New != Available && p.Surge > 0 {
			return "an available pod ends without another"
		}
	}
	missing, coming, gave := 0, 0, false
	for i, pl := range places {
		ends := false
		for _, e := range moves.End {
			ends = ends || e == i
		}
		gave = gave || ends && pl.Old == Available
		if (pl.Old != Available || ends) && pl.New != Available {
			missing++
		}
		if (pl.Old != Available && pl.Old != Coming || ends) && pl.New != Available {
			coming++
		}
	}
	if p.Surge == 0 && gave && missing > p.Unavailable {
		return fmt.Sprintf("%d places without an available pod", missing)
	}
	if p.Surge == 0 && p.Parallelism > 0 && len(moves.End) > 0 && coming > p.Parallelism {
		return fmt.Sprintf("%d places wait", coming)
	}
	for _, i := range moves.End {
		places[i].Old = Ending
	}
	for _, i := range moves.Start {
		places[i].New = Coming
	}
	return ""
}

// happen lets time pass: pods end, come and become available, as it may be.
func happen(r *rand.Rand, places []Place) {
	for i := range places {
		p := &places[i]
		if p.Old == Ending && r.IntN(2) == 0 {
			p.Old = Absent
		}
		switch {
		case p.New == Coming && r.IntN(2) == 0:
			p.New = Available
		case p.New == Absent && p.Old == Absent:
			p.New = Coming
		}
	}
}
