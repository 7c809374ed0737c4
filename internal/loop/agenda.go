package loop

import (
	"maps"
	"time"

	"trireme/internal/object"
)

// Agenda is what a loop has to look at: keys that were marked, and keys whose time
// has come. The zero Agenda is empty; a loop makes a new one at a full pass.
//
//	for _, key := range l.agenda.Due(tx.Now()) {
//		l.agenda.Take(key)
//		…
//		l.agenda.At(key, next)
//	}
//	return l.agenda.Next(), nil
type Agenda struct {
	marked map[object.Key]bool
	times  map[object.Key]time.Time
}

// Mark puts the key on the agenda.
func (a *Agenda) Mark(key object.Key) {
	if a.marked == nil {
		a.marked = map[object.Key]bool{}
	}
	a.marked[key] = true
}

// At puts the key on the agenda of that time, in place of any other time; the zero
// time: of none.
func (a *Agenda) At(key object.Key, t time.Time) {
	if t.IsZero() {
		delete(a.times, key)
		return
	}
	if a.times == nil {
		a.times = map[object.Key]time.Time{}
	}
	a.times[key] = t
}

// Due returns the keys to look at now, in order. They stay due until they are
// taken: a loop may leave some for its next step.
func (a *Agenda) Due(now time.Time) []object.Key {
	due := maps.Clone(a.marked)
	for key, t := range a.times {
		if !now.Before(t) {
			if due == nil {
				due = map[object.Key]bool{}
			}
			due[key] = true
		}
	}
	return object.SortedKeys(due)
}

// Take takes the key off the agenda.
func (a *Agenda) Take(key object.Key) {
	delete(a.marked, key)
	delete(a.times, key)
}

// Next returns when the next key is due by itself: what Reconcile returns. Zero:
// none is.
func (a *Agenda) Next() (next time.Time) {
	for _, t := range a.times {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next
}
