package rollout

import (
	"slices"
	"time"
)

// Order is which comes first, the new pod or the end of the old one.
type Order uint8

// The orders.
const (
	Rolling    Order = iota // both at once, as far as Surge and Unavailable go
	StopFirst               // an old pod ends, then a new one takes its place
	StartFirst              // a new pod is available, then an old one ends
	Recreate                // every old pod has ended before the first new one starts
)

// Action is what becomes of a rollout that fails.
type Action uint8

// The actions.
const (
	Continue Action = iota // go on regardless
	Hold                   // stop where it stands
	Rollback               // the caller makes the former generation the new one
)

// Policy is the limits of a rollout. The zero value of an optional field means
// no limit.
type Policy struct {
	Desired     int // pods wanted
	Surge       int // pods allowed above Desired
	Unavailable int // pods that may be missing from Desired
	Order       Order
	Parallelism int           // optional: new pods on their way at once
	Delay       time.Duration // optional: between a batch and the next
	Paused      bool          // sizes stay as they are
	Deadline    time.Duration // optional: without progress for so long it is Stalled
	FailureMax  float64       // failed new pods, as a part of Desired, that are borne
	OnFailure   Action
}

// Group is one generation of pods. Old generations come oldest first.
type Group struct {
	Name      string
	New       bool // the generation to end with; at most one
	Size      int  // pods asked for now
	Existing  int  // pods that are there and not on their way out
	Ending    int  // pods on their way out
	Available int  // pods that have been ready long enough
	Failed    int  // pods that failed within the monitored time
}

// Input is what a plan is made from.
type Input struct {
	Policy
	Groups        []Group
	Now           time.Time
	LastProgress  time.Time // when a count last moved the right way
	LastAvailable time.Time // when a new pod last became available; for Delay
}

// Verdict is how the rollout stands.
type Verdict uint8

// The verdicts.
const (
	Progressing Verdict = iota // something is still to come
	Complete                   // only new pods, as many as wanted, all available
	Paused                     // on hold by the user
	Stalled                    // no progress within the deadline; it still goes on
	Failed                     // more failures than borne: see Policy.OnFailure
)

var verdicts = [...]string{"progressing", "complete", "paused", "stalled", "failed"}

// String returns the verdict in lower case.
func (v Verdict) String() string { return verdicts[v] }

// Plan is what to do now.
type Plan struct {
	Sizes   []int     // of Input.Groups, in their order
	Verdict Verdict   // as of the counts given
	Next    time.Time // when to plan again even if no count changes; zero: never
}

// Step returns the next step of the rollout.
func Step(in Input) Plan {
	p := Plan{Sizes: make([]int, len(in.Groups))}
	for i, g := range in.Groups {
		p.Sizes[i] = g.Size
	}
	r := run{Input: in, sizes: p.Sizes, fresh: slices.IndexFunc(in.Groups, func(g Group) bool { return g.New })}
	p.Verdict = r.verdict()
	held := p.Verdict == Paused || p.Verdict == Failed && in.OnFailure != Continue
	switch {
	case held:
	case in.Order == Recreate:
		r.recreate()
	default:
		for before := []int(nil); !slices.Equal(before, r.sizes); { // room made is room used
			before = slices.Clone(r.sizes)
			r.grow()
			r.shrink()
		}
	}
	if p.Verdict == Progressing && in.Deadline > 0 && !in.LastProgress.IsZero() {
		r.wake(in.LastProgress.Add(in.Deadline))
	}
	p.Next = r.next
	return p
}

// run is one call of Step.
type run struct {
	Input
	sizes []int
	fresh int // index of the new group, -1: none
	next  time.Time
}

func (r *run) wake(at time.Time) {
	if r.next.IsZero() || at.Before(r.next) {
		r.next = at
	}
}

// total returns the pods asked for over all groups.
func (r *run) total() int {
	n := 0
	for _, s := range r.sizes {
		n += s
	}
	return n
}

// taken returns the places that are not free for a new pod: those asked for,
// and where old pods must have ended first, those that have not.
func (r *run) taken() int {
	if r.Order != StopFirst {
		return r.total()
	}
	n := 0
	for i, g := range r.Groups {
		n += max(r.sizes[i], g.Existing+g.Ending)
	}
	return n
}

func (r *run) available() int {
	n := 0
	for i, g := range r.Groups {
		n += min(g.Available, r.sizes[i])
	}
	return n
}

func (r *run) verdict() Verdict {
	if r.Policy.Paused {
		return Paused
	}
	var fresh Group
	existing := 0
	for _, g := range r.Groups {
		existing += max(g.Existing, g.Size)
		if g.New {
			fresh = g
		}
	}
	switch {
	case r.OnFailure != Continue && float64(fresh.Failed) > r.FailureMax*float64(r.Desired):
		return Failed
	case r.fresh >= 0 && fresh.Size == r.Desired && fresh.Available >= r.Desired && existing == r.Desired:
		return Complete
	case r.Deadline > 0 && !r.LastProgress.IsZero() && !r.Now.Before(r.LastProgress.Add(r.Deadline)):
		return Stalled
	}
	return Progressing
}

// recreate ends every old pod before it asks for the first new one.
func (r *run) recreate() {
	left := 0
	for i, g := range r.Groups {
		if !g.New {
			r.sizes[i] = 0
			left += g.Existing + g.Ending
		}
	}
	if left == 0 {
		r.grow()
	}
}

// grow asks for as many new pods as the limits allow.
func (r *run) grow() {
	if r.fresh < 0 {
		return
	}
	size := &r.sizes[r.fresh]
	if *size >= r.Desired {
		*size = r.Desired
		return
	}
	n := min(r.Desired-*size, r.Desired+r.Surge-r.taken())
	if r.Parallelism > 0 {
		n = min(n, r.Parallelism-r.coming())
	}
	if n > 0 && (r.Order != StartFirst || r.open()) {
		*size += n
	}
}

// coming returns how many new pods are on their way.
func (r *run) coming() int {
	return max(r.sizes[r.fresh]-r.Groups[r.fresh].Available, 0)
}

// open reports whether the next batch may begin: the last one is available and
// the delay has passed since.
func (r *run) open() bool {
	if r.fresh < 0 || r.Delay == 0 {
		return true
	}
	if r.coming() > 0 {
		return false
	}
	at := r.LastAvailable.Add(r.Delay)
	if r.LastAvailable.IsZero() || !r.Now.Before(at) {
		return true
	}
	r.wake(at)
	return false
}

// shrink gives up old pods: first those that are of no use, then available
// ones as far as the limits allow.
func (r *run) shrink() {
	least := r.Desired - r.Unavailable
	spare := r.total() - least // pods that may go if all else is available
	if r.fresh >= 0 {
		spare -= r.coming()
	}
	for i, g := range r.Groups {
		if g.New || spare <= 0 {
			continue
		}
		n := min(max(r.sizes[i]-g.Available, 0), spare)
		r.sizes[i] -= n
		spare -= n
	}
	spare = min(spare, r.available()-least)
	if r.Order == StopFirst && r.old() > 0 && spare > 0 && !r.open() {
		return
	}
	for i, g := range r.Groups {
		if g.New || spare <= 0 {
			continue
		}
		n := min(r.sizes[i], spare)
		r.sizes[i] -= n
		spare -= n
	}
}

func (r *run) old() int {
	n := 0
	for i, g := range r.Groups {
		if !g.New {
			n += r.sizes[i]
		}
	}
	return n
}
