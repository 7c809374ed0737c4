package store

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Tx is one transaction on the head state. It belongs to the function it was
// handed to and is dead when that returns.
type Tx struct {
	s       *Store
	base    *state
	cur     *state // tables that were written are private copies
	private map[*tableDef]bool

	order   []*write
	writes  map[writeKey]*write
	journal []journalEntry
	written map[*tableDef]int // journal length after the table's last write
	read    map[span][]string // what changed returned: many loops read the same
	now     time.Time

	view *view
}

type writeKey struct {
	def *tableDef
	key string
}

// span is writes to a table: from a revision to the base, and entries of the journal.
type span struct {
	def      *tableDef
	since    Rev
	from, to int
}

// write is the net effect on one key.
type write struct {
	writeKey
	old, new *row // nil: none
}

// journalEntry is one put or delete, so that it can be undone and so that loops
// of one tick learn what another has just changed.
type journalEntry struct {
	w    *write
	prev *row
}

// view is what a loop may do and has seen; nil outside a tick.
type view struct {
	name   string
	writes map[TableID]bool
	since  Cursor
}

// Cursor is how far a loop has read. The zero Cursor has read nothing.
type Cursor struct {
	rev, volatile Rev
	journal       int
	read          bool
}

func (tx *Tx) state() *state { return tx.cur }

// Now returns the transaction's time: the only clock a loop has.
func (tx *Tx) Now() time.Time { return tx.now }

// NewID returns a new random UUID.
func (tx *Tx) NewID() types.UID { return tx.s.cfg.NewID() }

// NewName returns prefix and five random characters, as the Kubernetes API
// does for generateName (API conventions, "Resource names").
func (tx *Tx) NewName(prefix string) string {
	const maxPrefix = 63 - 5
	if len(prefix) > maxPrefix {
		prefix = prefix[:maxPrefix]
	}
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	id := tx.s.cfg.NewID()
	b := []byte(prefix)
	for i := 0; len(b) < len(prefix)+5; i++ {
		if id[i] == '-' {
			continue
		}
		b = append(b, alphabet[(int(id[i])*31+int(id[i+9])*7)%len(alphabet)])
	}
	return string(b)
}

// FullPass reports whether the reading loop sees all keys as changed: at its
// first step, after an error, and at a resync. A loop drops its caches then.
func (tx *Tx) FullPass() bool { return tx.view == nil || !tx.view.since.read }

// Writes returns how many puts and deletes the transaction holds so far.
func (tx *Tx) Writes() int { return len(tx.journal) }

func (tx *Tx) own(def *tableDef) *tableState {
	if tx.private[def] {
		return tx.cur.table(def)
	}
	ts := tx.cur.table(def).copy()
	tx.cur.tables[def] = ts
	tx.private[def] = true
	return ts
}

func (tx *Tx) put(def *tableDef, key string, o Object) {
	if o.GetName() == "" {
		panic(fmt.Sprintf("store: put into %s without a name", def.id))
	}
	old, _ := tx.cur.table(def).get(key)
	if old != nil && old.gave(o) {
		panic(fmt.Sprintf("store: %s %s was put back: change a DeepCopy", def.id, key))
	}
	if o.GetUID() == "" {
		o.SetUID(tx.NewID())
	}
	if t := o.GetCreationTimestamp(); t.IsZero() {
		o.SetCreationTimestamp(metav1.Time{Time: tx.now.Truncate(time.Second)})
	}
	normalize(def, o)
	tx.apply(def, key, old, newRow(def, key, o))
}

func newRow(def *tableDef, key string, o Object) *row {
	r := &row{def: def, key: key, head: def.head(o)}
	var few [4]indexed
	values := few[:0]
	for i, f := range def.indexKeys {
		for _, v := range f(o) {
			values = append(values, indexed{v, i})
		}
	}
	r.indexed = slices.Clone(values) // no longer than it must be: rows are many
	r.decoded.Store(&o)
	return r
}

func (tx *Tx) remove(def *tableDef, key string) {
	if old, ok := tx.cur.table(def).get(key); ok {
		tx.apply(def, key, old, nil)
	}
}

func (tx *Tx) apply(def *tableDef, key string, old, new *row) {
	if tx.view != nil && !tx.view.writes[def.id] {
		panic(fmt.Sprintf("store: loop %s writes %s but does not declare it", tx.view.name, def.id))
	}
	tx.own(def).set(old, new)
	wk := writeKey{def, key}
	w := tx.writes[wk]
	if w == nil {
		w = &write{writeKey: wk, old: old}
		tx.writes[wk] = w
		tx.order = append(tx.order, w)
	}
	tx.journal = append(tx.journal, journalEntry{w, old})
	tx.written[def] = len(tx.journal)
	w.new = new
}

// rollback undoes everything since the journal was n entries long.
func (tx *Tx) rollback(n int) {
	for i := len(tx.journal) - 1; i >= n; i-- {
		e := tx.journal[i]
		tx.own(e.w.def).set(e.w.new, e.prev)
		e.w.new = e.prev
	}
	tx.journal = tx.journal[:n]
	clear(tx.read)
	for def, at := range tx.written {
		tx.written[def] = min(at, n)
	}
}

// changed returns the keys of def's table that changed since the view's cursor, not to
// be changed.
func (tx *Tx) changed(def *tableDef) []string {
	if tx.view == nil || !tx.view.since.read {
		return tx.allKeys(def)
	}
	since := tx.view.since.rev
	if def.volatile {
		since = tx.view.since.volatile
	}
	to := tx.written[def]
	all := span{def, since, min(tx.view.since.journal, to), to}
	if keys, ok := tx.read[all]; ok {
		return keys
	}
	var keys []string
	if tx.base.table(def).rev > since {
		events, ok := tx.s.rings[def].after(since)
		if !ok {
			return tx.allKeys(def)
		}
		for _, e := range events {
			keys = append(keys, e.key())
		}
	}
	for _, e := range tx.journal[all.from:to] {
		if e.w.def == def {
			keys = append(keys, e.w.key)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if tx.read == nil {
		tx.read = map[span][]string{}
	}
	tx.read[all] = keys
	return keys
}

func (tx *Tx) allKeys(def *tableDef) []string {
	ts := tx.cur.table(def)
	keys := make([]string, 0, ts.rows.Len())
	ts.rows.Scan(func(r *row) bool { keys = append(keys, r.key); return true })
	return keys
}

// seal gives every write its revision and returns the new head state and the
// events, in the order of the writes. It returns nil where nothing is written.
func (tx *Tx) seal() (*state, []*Event) {
	next := newState()
	next.rev, next.volatile, next.tables = tx.base.rev, tx.base.volatile, tx.cur.tables
	var events []*Event
	for _, w := range tx.order {
		if w.old == w.new {
			continue // written and undone
		}
		counter := &next.rev
		if w.def.volatile {
			counter = &next.volatile
		}
		*counter++
		e := &Event{Rev: *counter, old: w.old, row: w.new, def: w.def}
		if w.new != nil {
			w.new.rev = e.Rev
			(*w.new.decoded.Load()).SetResourceVersion(strconv.FormatInt(int64(e.Rev), 10))
		}
		next.tables[w.def].rev = e.Rev
		events = append(events, e)
	}
	if len(events) == 0 {
		return nil, nil
	}
	return next, events
}
