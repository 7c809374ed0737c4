package rollout

// Stand is how a pod stands in its place.
type Stand uint8

// The stands.
const (
	Absent    Stand = iota // there is none
	Coming                 // it is there and not available, for the first time or again
	Available              // it has been ready long enough
	Ending                 // it is on its way out
)

// Place is where just one pod belongs: a node of a DaemonSet, an ordinal of a
// StatefulSet. It has a pod of an old generation, a new one, both in the midst of
// a surge, or none.
type Place struct {
	Old, New Stand
	Held     bool // the old pod stays: the place is not to be renewed yet
}

// Moves is what to do now, as indexes of places in their order.
type Moves struct {
	End   []int // give up the old pod
	Start []int // ask for a new pod beside the old one
}

// Replace returns the next step of a rollout over places, of which Policy gives
// Surge, Unavailable, Parallelism and Paused. Places are renewed in the order given.
// With Surge a new pod starts beside the old one, which ends when the new one is
// available; else the old pod ends, and who fills empty places puts a new one
// there. What holds after every step:
//
//   - No available pod is given up where that would leave more than Unavailable
//     places without one (with Surge: any), but one that has an available new pod
//     beside it. Old pods that are not available anyway go first.
//   - No more than Surge places have two pods because of a rollout, those apart
//     whose old pod is not available.
//   - Without Surge no more than Parallelism places wait for a new pod at once.
func Replace(p Policy, places []Place) Moves {
	r := replace{Policy: p, places: places}
	switch {
	case p.Paused:
	case p.Surge > 0:
		r.surge()
	default:
		r.inPlace()
	}
	return r.moves
}

type replace struct {
	Policy
	places []Place
	moves  Moves
}

func (r *replace) inPlace() {
	missing, coming := 0, 0
	for _, p := range r.places {
		if p.Old != Available && p.New != Available {
			missing++
		}
		if p.Old != Coming && p.Old != Available && p.New != Available {
			coming++
		}
	}
	end := func(i int) {
		r.moves.End = append(r.moves.End, i)
		coming++
	}
	room := func() bool { return r.Parallelism == 0 || coming < r.Parallelism }
	for i, p := range r.places {
		if p.Old == Coming && !p.Held && room() {
			end(i)
		}
	}
	for i, p := range r.places {
		if p.Old == Available && p.New == Absent && !p.Held && missing < r.Unavailable && room() {
			end(i)
			missing++
		}
	}
}

func (r *replace) surge() {
	surging := 0
	for _, p := range r.places {
		if p.Old != Absent && p.New == Coming {
			surging++
		}
	}
	for i, p := range r.places {
		switch {
		case p.Held || p.Old == Absent || p.Old == Ending:
		case p.New == Available, p.New == Coming && p.Old == Coming:
			r.moves.End = append(r.moves.End, i)
		case p.New != Absent:
		case p.Old == Coming:
			r.moves.Start = append(r.moves.Start, i)
		case surging < r.Surge:
			r.moves.Start = append(r.moves.Start, i)
			surging++
		}
	}
}
