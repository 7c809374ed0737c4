package store

import (
	"context"
)

// Tick is one transaction that several loops write, one step after another.
type Tick struct{ tx *Tx }

// StepSpec says who steps and what it may do.
type StepSpec struct {
	Name   string
	Writes []TableID
	Since  Cursor // what the loop has seen
}

// Tick runs f on the head state and makes what its steps wrote the new head, as
// one transaction. It does not wait for the commit, but it waits before it
// starts while the log is far behind. The returned function moves a cursor that
// a step of this tick returned to the new head, if the loop has seen all of it.
func (s *Store) Tick(ctx context.Context, f func(*Tick) error) (advance func(Cursor) Cursor, err error) {
	if err := s.waitBacklog(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return nil, s.failed
	}
	tx := s.begin()
	if err := f(&Tick{tx}); err != nil {
		return nil, err
	}
	base, all := tx.base, len(tx.journal)
	s.push(tx)
	head := s.head.Load()
	return func(c Cursor) Cursor {
		switch {
		case !c.read:
			return c
		case c.journal == all:
			return Cursor{rev: head.rev, volatile: head.volatile, read: true}
		}
		return Cursor{rev: min(c.rev, base.rev), volatile: min(c.volatile, base.volatile), read: true}
	}, nil
}

func (s *Store) waitBacklog(ctx context.Context) error {
	for {
		s.mu.Lock()
		backlog := s.backlog
		s.mu.Unlock()
		if backlog < backlogMax {
			return nil
		}
		select {
		case <-s.committed.Load().next:
		case <-s.dead:
			return s.deadErr()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Due reports whether one of the tables was written after the cursor, in an
// earlier transaction or in this tick.
func (t *Tick) Due(tables []TableID, since Cursor) bool {
	if !since.read {
		return true
	}
	for _, id := range tables {
		def := t.tx.s.byID[id]
		if def == nil {
			panic("store: no table " + string(id))
		}
		seen := since.rev
		if def.volatile {
			seen = since.volatile
		}
		if t.tx.base.table(def).rev > seen || t.tx.written[def] > since.journal {
			return true
		}
	}
	return false
}

// Writes returns how many puts and deletes the tick holds so far.
func (t *Tick) Writes() int { return len(t.tx.journal) }

// Step runs f on what the tick holds so far, with the rights of spec. If f
// returns an error or panics, what it wrote is undone and the cursor stays
// where it was; else the new cursor is returned.
func (t *Tick) Step(spec StepSpec, f func(*Tx) error) (Cursor, error) {
	tx := t.tx
	start := len(tx.journal)
	v := &view{name: spec.Name, writes: make(map[TableID]bool, len(spec.Writes)), since: spec.Since}
	for _, id := range spec.Writes {
		v.writes[id] = true
	}
	tx.view = v
	done := false
	defer func() {
		tx.view = nil
		if !done {
			tx.rollback(start)
		}
	}()
	if err := f(tx); err != nil {
		return spec.Since, err
	}
	done = true
	// Its own writes count as unseen: a loop must be at rest on what it wrote.
	return Cursor{rev: tx.base.rev, volatile: tx.base.volatile, journal: start, read: true}, nil
}
