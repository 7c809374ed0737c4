package store

import (
	"context"
	"iter"
	"sort"
	"sync"

	"trireme/internal/kind"
	"trireme/internal/object"
)

// Event is one write of one row.
type Event struct {
	Rev Rev

	def *tableDef
	old *row // before; nil: the row was created
	row *row // after; nil: the row was deleted

	heldBytes int // of old, which only the history holds; set by the ring

	// deleted is the last object with the revision of its deletion, made once.
	deletedOnce sync.Once
	deleted     Object
}

// EventType says what an Event did to its row.
type EventType uint8

// The event types.
const (
	Created EventType = iota + 1
	Changed
	Deleted
)

func (e *Event) key() string {
	if e.row != nil {
		return e.row.key
	}
	return e.old.key
}

// Type returns what happened.
func (e *Event) Type() EventType {
	switch {
	case e.row == nil:
		return Deleted
	case e.old == nil:
		return Created
	}
	return Changed
}

// Table returns the table of the row.
func (e *Event) Table() TableID { return e.def.id }

// Key returns the row's key.
func (e *Event) Key() object.Key { return object.ParseKey(e.key()) }

// Object returns the object after the write; for a deletion the last object
// with the deletion's revision, as Kubernetes' watch promises. Shared: change a
// DeepCopy.
func (e *Event) Object() Object {
	if e.row != nil {
		return e.row.object()
	}
	e.deletedOnce.Do(func() {
		o := e.old.object().DeepCopyObject().(Object)
		o.SetResourceVersion(e.Rev.String())
		e.deleted = o
	})
	return e.deleted
}

// Old returns the object before the write, nil where it was created.
func (e *Event) Old() Object {
	if e.old == nil {
		return nil
	}
	return e.old.object()
}

// Row returns the row after the write, false for a deletion.
func (e *Event) Row() (Row[Object, any], bool) { return Row[Object, any]{e.row}, e.row != nil }

// OldRow returns the row before the write, false where it was created. One that
// was read back from the log's history has no head.
func (e *Event) OldRow() (Row[Object, any], bool) { return Row[Object, any]{e.old}, e.old != nil }

// Head returns the row's head after the write, before it for a deletion.
func (e *Event) Head() any {
	if e.row != nil {
		return e.row.head
	}
	return e.old.head
}

// OldHead returns the row's head before the write, nil where it was created or
// where the event was read back from the log.
func (e *Event) OldHead() any {
	if e.old == nil {
		return nil
	}
	return e.old.head
}

// ring is the bounded history of one table, in order of revision. It holds
// events that are not committed yet; readers stop at the committed revision.
type ring struct {
	limit int

	mu      sync.Mutex
	events  []*Event
	dropped Rev // of the newest event that is not here any more
	bytes   int // of the rows that only the history holds: those before each event
}

// What the history of a table may hold beside its number of events.
const (
	historyBytesMax  = 32 << 20
	historyEventsMin = 1024 // however large they are
)

// append adds an event and drops old ones, but none younger than committed: who
// reads from the committed snapshot, as every reader that was cut does, must find
// what comes next, however much one tick writes.
func (r *ring) append(e *Event, committed Rev) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if e.old != nil {
		if b := e.old.encoded.Load(); b != nil { // nearly always: it is older than one commit
			e.heldBytes = len(b.own) // what it shares is held by others
		}
	}
	r.bytes += e.heldBytes
	n := len(r.events)
	if n <= r.limit+r.limit/4 && (r.bytes <= historyBytesMax || n <= historyEventsMin) {
		return
	}
	known := sort.Search(n, func(i int) bool { return r.events[i].Rev > committed })
	cut := min(max(0, n-r.limit), known)
	for _, gone := range r.events[:cut] {
		r.bytes -= gone.heldBytes
	}
	// A quarter more than must go, so that the next events do not copy the slice again.
	for ; r.bytes > historyBytesMax-historyBytesMax/4 && n-cut > historyEventsMin && cut < known; cut++ {
		r.bytes -= r.events[cut].heldBytes
	}
	if cut == 0 {
		return
	}
	r.dropped = r.events[cut-1].Rev
	r.events = append(make([]*Event, 0, n-cut+r.limit/4+1), r.events[cut:]...)
}

// after returns the events younger than rev, false where some were dropped. The
// slice is shared and must not be changed.
func (r *ring) after(rev Rev) ([]*Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rev < r.dropped {
		return nil, false
	}
	i := sort.Search(len(r.events), func(i int) bool { return r.events[i].Rev > rev })
	return r.events[i:len(r.events):len(r.events)], true
}

// Events yields the committed writes of one table that are younger than from,
// in order, without gap or repeat, and waits for more until ctx ends. The last
// pair carries the reason: ctx's error, or kind.Gone where the history no
// longer reaches back to from, or the reader was too slow: list again.
func (s *Store) Events(ctx context.Context, from Rev, t Def) iter.Seq2[*Event, error] {
	def := t.definition()
	return func(yield func(*Event, error) bool) {
		for {
			st := s.committed.Load()
			events, ok := s.rings[def].after(from)
			if !ok {
				yield(nil, kind.New(kind.Gone, "too old resource version: %d", from))
				return
			}
			limit := st.revOf(def)
			for _, e := range events {
				if e.Rev > limit {
					break
				}
				if !yield(e, nil) {
					return
				}
				from = e.Rev
			}
			if err := s.waitTable(ctx, st, def); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// waitTable returns when def's table has changed since st was committed.
func (s *Store) waitTable(ctx context.Context, st *state, def *tableDef) error {
	select {
	case <-st.table(def).next:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.dead:
		return s.deadErr()
	}
}
