package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// load fills st and the rings from the log.
func (s *Store) load(ctx context.Context, st *state) error {
	c, err := s.cfg.Log.Load(ctx)
	if err != nil {
		return err
	}
	st.rev = c.Rev
	defs := slices.Clone(s.defs)
	// The longest prefix first: "/registry/services/specs/" before "/registry/".
	slices.SortFunc(defs, func(a, b *tableDef) int { return len(b.prefix) - len(a.prefix) })
	for _, e := range c.Rows {
		def, key := split(defs, e.Key, e.Value)
		if def == nil {
			continue
		}
		r, err := loadedRow(def, key, e.Value, e.Rev)
		if err != nil {
			return fmt.Errorf("decoding %s: %w", e.Key, err)
		}
		ts := st.table(def)
		ts.set(nil, r)
		ts.rev = max(ts.rev, r.rev)
	}
	for _, ring := range s.rings {
		ring.dropped = max(ring.dropped, c.Floor)
	}
	for _, ch := range c.History {
		value := ch.Value
		if value == nil {
			value = ch.Old
		}
		def, key := split(defs, ch.Key, value)
		if def == nil || def.volatile {
			continue
		}
		e := &Event{Rev: ch.Rev, def: def, row: historyRow(def, key, ch.Value, ch.Rev), old: historyRow(def, key, ch.Old, 0)}
		if live, ok := st.table(def).get(key); ok && live.rev == ch.Rev {
			e.row = live
		}
		s.rings[def].append(e, e.Rev)
		st.table(def).rev = max(st.table(def).rev, ch.Rev)
	}
	return nil
}

// split returns the table that a row of the log is of, and its key there; nil
// where no table knows it.
func split(defs []*tableDef, key string, value []byte) (*tableDef, string) {
	for _, def := range defs {
		rest, ok := strings.CutPrefix(key, def.prefix)
		if !ok || def.volatile {
			continue
		}
		if def.claims != nil && !def.claims(rest, value) {
			return nil, ""
		}
		return def, rest
	}
	return nil, ""
}

// loadedRow decodes once, for the head and the indexes. A value that another
// Kubernetes wrote does not hold its revision: it gets the log's.
func loadedRow(def *tableDef, key string, value []byte, rev Rev) (*row, error) {
	o, err := decode(def, value)
	if err != nil {
		return nil, err
	}
	r := newRow(def, key, o)
	if own, err := strconv.ParseInt(o.GetResourceVersion(), 10, 64); err == nil {
		r.rev = Rev(own)
		r.encoded.Store(&encoded{own: value})
	} else {
		r.rev = rev
		o.SetResourceVersion(rev.String())
		r.bytes()
	}
	r.settle()
	return r, nil
}

// historyRow is a row nobody reads but a watcher that resumes: it has no head
// and no index values.
func historyRow(def *tableDef, key string, value []byte, rev Rev) *row {
	if value == nil {
		return nil
	}
	r := &row{def: def, key: key, rev: rev}
	r.encoded.Store(&encoded{own: value})
	return r
}
