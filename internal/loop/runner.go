package loop

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"trireme/internal/store"
)

// Config configures a Runner. The zero value is useful.
type Config struct {
	Log *slog.Logger     // nil: discarded
	Now func() time.Time // nil: time.Now. The clock of the store's transactions
	// Pause is the shortest time between two ticks, so that a burst of writes is
	// one tick. 0: 2 ms. The first write after a quiet time never waits.
	Pause time.Duration
	// Resync is how often every loop looks at all keys. 0: 10 min.
	Resync time.Duration
}

const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 30 * time.Second
	// tickWritesMax ends a tick that has written much with its round, so that other
	// writers get their turn; the loops go on in the next tick. With its round: what
	// the first loops make the last ones complete, in the same write.
	tickWritesMax = 2 * StepWritesMax
	// roundWritesMax ends even a round: three loops that write as much as they may,
	// and what others add.
	roundWritesMax = 4 * StepWritesMax
	// roundsMax bounds how often the loops feed each other in one tick.
	roundsMax = 32
)

// Runner runs loops over one store.
type Runner struct {
	store *store.Store
	cfg   Config
	loops []*runnable

	mu    sync.Mutex
	stats []Stat
}

// runnable is a loop and what the runner knows of it.
type runnable struct {
	Reconciler
	spec     store.StepSpec
	reads    []store.TableID
	cursor   store.Cursor
	next     time.Time     // the loop's own timer; zero: none
	backoff  time.Duration // after a failure; zero: healthy
	resumeAt time.Time     // no step before, while backing off
	resyncAt time.Time
}

// Stat is what one loop has done since the Runner was made.
type Stat struct {
	Name    string
	Steps   int64
	Writes  int64
	Errors  int64
	Seconds float64
	Err     string // of the last step; empty: it went well
}

// New returns a Runner that steps the loops in the given order.
func New(s *store.Store, cfg Config, loops ...Reconciler) *Runner {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Pause == 0 {
		cfg.Pause = 2 * time.Millisecond
	}
	if cfg.Resync == 0 {
		cfg.Resync = 10 * time.Minute
	}
	r := &Runner{store: s, cfg: cfg, stats: make([]Stat, len(loops))}
	for i, l := range loops {
		r.stats[i].Name = l.Name()
		r.loops = append(r.loops, &runnable{
			Reconciler: l, reads: l.Reads(),
			spec: store.StepSpec{Name: l.Name(), Writes: l.Writes()},
		})
	}
	return r
}

// Stats returns what each loop has done, in the loops' order.
func (r *Runner) Stats() []Stat {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Stat(nil), r.stats...)
}

// Run steps the loops whenever they have something to look at, until ctx ends
// or the store dies.
func (r *Runner) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		head := r.store.Head()
		again, next, err := r.Tick(ctx)
		if err != nil {
			return err
		}
		wait := head.Next()
		if again {
			continue
		}
		if err := sleep(ctx, timer, r.cfg.Pause, nil, r.store.Dead()); err != nil {
			return err
		}
		if err := sleep(ctx, timer, next.Sub(r.cfg.Now()), wait, r.store.Dead()); err != nil {
			return err
		}
	}
}

// sleep waits for d, for wake or for ctx, whichever is first.
func sleep(ctx context.Context, timer *time.Timer, d time.Duration, wake, dead <-chan struct{}) error {
	timer.Reset(max(d, 0))
	select {
	case <-timer.C:
		return nil
	case <-wake:
		return nil
	case <-dead:
		return fmt.Errorf("running loops: the store is closed")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Tick steps every loop that is due until none has anything left to do, as one
// transaction. again: there is more to do at once. next: when a timer is due,
// if nothing changes before.
func (r *Runner) Tick(ctx context.Context) (again bool, next time.Time, err error) {
	now := r.cfg.Now()
	for _, l := range r.loops {
		if !now.Before(l.resyncAt) {
			l.cursor = store.Cursor{}
			l.resyncAt = now.Add(r.cfg.Resync)
		}
	}
	advance, err := r.store.Tick(ctx, func(t *store.Tick) error {
		again = r.rounds(t, now)
		return nil
	})
	if err != nil {
		return false, time.Time{}, fmt.Errorf("running loops: %w", err)
	}
	next = now.Add(r.cfg.Resync)
	for _, l := range r.loops {
		l.cursor = advance(l.cursor)
		for _, t := range []time.Time{l.resyncAt, l.next, l.resumeAt} {
			if !t.IsZero() && t.Before(next) {
				next = t
			}
		}
	}
	return again, next, nil
}

// rounds steps due loops in order until a whole round writes nothing. It
// reports whether it stopped before that.
func (r *Runner) rounds(t *store.Tick, now time.Time) bool {
	for range roundsMax {
		before := t.Writes()
		for i, l := range r.loops {
			if !r.due(t, l, now) {
				continue
			}
			r.step(t, i, now)
			if t.Writes() >= roundWritesMax {
				return true
			}
		}
		switch {
		case t.Writes() == before:
			return false
		case t.Writes() >= tickWritesMax:
			return true
		}
	}
	return true
}

func (r *Runner) due(t *store.Tick, l *runnable, now time.Time) bool {
	if l.resumeAt.After(now) {
		return false
	}
	timer := !l.next.IsZero() && !l.next.After(now)
	return timer || t.Due(l.reads, l.cursor)
}

func (r *Runner) step(t *store.Tick, i int, now time.Time) {
	l := r.loops[i]
	before, start := t.Writes(), time.Now()
	l.spec.Since = l.cursor
	var next time.Time
	cursor, err := recoverStep(t, l, &next)
	r.mu.Lock()
	st := &r.stats[i]
	st.Steps++
	st.Writes += int64(t.Writes() - before)
	st.Seconds += time.Since(start).Seconds()
	st.Err = ""
	if err != nil {
		st.Errors++
		st.Err = err.Error()
	}
	r.mu.Unlock()
	if err != nil {
		l.backoff = min(max(2*l.backoff, backoffMin), backoffMax)
		l.resumeAt = now.Add(l.backoff)
		l.cursor = store.Cursor{} // it may have missed keys: look at all of them
		r.cfg.Log.Error("loop step failed", "loop", l.Name(), "err", err, "retry", l.backoff)
		return
	}
	l.backoff, l.resumeAt = 0, time.Time{}
	l.cursor, l.next = cursor, next
}

// recoverStep turns a panic of the loop into an error: the step is undone, so
// nothing was done.
func recoverStep(t *store.Tick, l *runnable, next *time.Time) (c store.Cursor, err error) {
	defer func() {
		if p := recover(); p != nil {
			c, err = l.cursor, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return t.Step(l.spec, func(tx *store.Tx) error {
		n, err := l.Reconcile(tx)
		*next = n
		return err
	})
}

// Settle steps the loops over s until none writes any more, and returns the
// first error of a loop. It is for tests and tools: it starts nothing and does
// not wait for timers.
func Settle(ctx context.Context, s *store.Store, cfg Config, loops ...Reconciler) error {
	r := New(s, cfg, loops...)
	for {
		again, _, err := r.Tick(ctx)
		if err != nil {
			return err
		}
		for _, st := range r.Stats() {
			if st.Err != "" {
				return fmt.Errorf("loop %s: %s", st.Name, st.Err)
			}
		}
		if !again {
			return nil
		}
	}
}
