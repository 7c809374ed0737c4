package timetable

import (
	"time"

	"trireme/internal/object"
)

// MissedMax is how many times in a row may pass unused before it is told that something
// is wrong (Kubernetes, "CronJob", "Deadline for delayed Job start").
const MissedMax = 100

// Latest returns the last time of the plan after from and not after now, zero where
// there is none, and how many there are, of which more than MissedMax count as one more.
func Latest(plan object.Schedule, from, now time.Time) (at time.Time, n int) {
	walk := func(t time.Time) {
		for t = plan.Next(t); !t.IsZero() && !t.After(now) && n <= MissedMax; t = plan.Next(t) {
			at = t
			n++
		}
	}
	if walk(from); n <= MissedMax {
		return at, n
	}
	for back := time.Minute; ; back *= 2 { // look from the other end
		if t := plan.Next(now.Add(-back)); !t.IsZero() && !t.After(now) {
			for ; !t.IsZero() && !t.After(now); t = plan.Next(t) {
				at = t
			}
			return at, n
		}
	}
}
