package store

import (
	"context"

	"trireme/internal/kind"
	"trireme/internal/object"
)

// Follow calls f for every row of the committed table and for each that changes
// from then on, until ctx ends or f fails. It is for what acts on rows and is no
// loop, because it is not pure; it starts over where it falls behind.
func (s *Store) Follow(ctx context.Context, t *Table[Object, any], f func(object.Key) error) error {
	return s.FollowFrom(ctx, s.Snapshot(), t, f)
}

// FollowFrom is Follow that misses nothing after snap, for who follows several tables
// that belong together.
func (s *Store) FollowFrom(ctx context.Context, snap *Snapshot, t *Table[Object, any], f func(object.Key) error) error {
	for ; ; snap = s.Snapshot() {
		for row := range t.Rows(snap, "") {
			if err := f(row.Key()); err != nil {
				return err
			}
		}
		for e, err := range s.Events(ctx, snap.TableRev(t), t) {
			if kind.Is(err, kind.Gone) {
				break
			}
			if err != nil {
				return err
			}
			if err := f(e.Key()); err != nil {
				return err
			}
		}
	}
}
