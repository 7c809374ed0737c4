// Package loop is the only runner of control loops.
//
// A loop is a Reconciler: a pure function from what the tables hold to rows. The
// Runner waits for a table that a loop reads to change, steps every loop that is
// due, again and again until none has anything left to do, and hands the lot to
// the store as one transaction. Loops do not know each other: they meet in the
// tables.
//
// It is not for anything that acts on the world (agent, dataplane) and not for
// sessions (dispatch).
//
// Ordering: the loops of one Runner step one at a time, in the order they were
// given, on one goroutine. A loop that fails or panics is undone, logged and
// left alone for a while (100 ms doubling to 30 s); the others go on. Every ten
// minutes each loop looks at all keys once.
//
// How to debug: log lines carry the attribute loop; Runner.Stats tells steps,
// writes, errors and seconds a loop.
package loop

import (
	"time"

	"trireme/internal/store"
)

// Reconciler is one control loop.
type Reconciler interface {
	// Name is "stage/noun": the log attribute and metric label.
	Name() string
	// Reads lists the tables whose writes wake the loop. It may read only these.
	Reads() []store.TableID
	// Writes lists the tables it may write; a write to another panics.
	Writes() []store.TableID
	// Reconcile takes one step: it looks at the keys that tables' Changed
	// yields and writes rows to tx. Pure: time from tx.Now, names from
	// tx.NewID. A step with nothing changed writes nothing. next is when to
	// step again even if nothing changes; zero: never.
	Reconcile(tx *store.Tx) (next time.Time, err error)
}

// StepWritesMax is how many rows one step should write before it lets the other
// loops have their turn. A loop that stops there keeps what is left in a cache;
// it is stepped again at once if it has written a table that it reads.
const StepWritesMax = 2000
