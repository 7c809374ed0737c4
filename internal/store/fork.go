package store

import "context"

// Fork returns a store of its own that begins with what the snapshot holds: rows are shared until
// they are written, and what is written to one of the two is never seen in the other. It has no
// log, the clock that cfg has, and names from cfg or else as this store. It is for asking what would happen (internal/whatif).
func (s *Store) Fork(from *Snapshot, cfg Config) (*Store, error) {
	cfg.Log = nil
	if cfg.NewID == nil {
		cfg.NewID = s.cfg.NewID
	}
	defs := make([]Def, len(s.defs))
	for i, d := range s.defs {
		defs[i] = d
	}
	f, err := Open(context.Background(), cfg, defs...)
	if err != nil {
		return nil, err
	}
	st := newState()
	st.rev, st.volatile = from.s.rev, from.s.volatile
	s.mu.Lock() // a copy marks its source, as those of transactions do
	for def, ts := range from.s.tables {
		st.tables[def] = ts.copy()
	}
	s.mu.Unlock()
	for def, r := range f.rings {
		r.dropped = st.revOf(def)
	}
	f.head.Store(st)
	f.committed.Store(st)
	return f, nil
}
