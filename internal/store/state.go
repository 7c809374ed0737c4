package store

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
)

// tableDef is a table's declaration without its types.
type tableDef struct {
	id         TableID
	gvk        schema.GroupVersionKind
	prefix     string
	cold       bool
	volatile   bool
	namespaced bool
	alike      func([]byte) (from, to int)
	claims     func(key string, value []byte) bool
	older      func([]byte) (Object, bool, error)
	newObject  func() Object
	head       func(Object) any
	indexNames []string
	indexKeys  []func(Object) []string
}

func (d *tableDef) definition() *tableDef { return d }

// row is immutable but for where its object lives: decoded until the commit,
// encoded from then on (tables that are not cold keep both), and then perhaps in
// parts, of which rows that are alike share one. What was decoded of a cold row is
// found again until it is collected: a commit has many readers, all at once.
type row struct {
	def     *tableDef
	key     string
	rev     Rev
	head    any
	indexed []indexed // under which indexes find it, in their order

	decoded atomic.Pointer[Object]
	encoded atomic.Pointer[encoded]
}

// indexed is a value under which an index finds a row.
type indexed struct {
	value string
	index int
}

// object returns the decoded object.
func (r *row) object() Object {
	if o := r.decoded.Load(); o != nil {
		return *o
	}
	e := r.encoded.Load()
	if o := e.was.Value(); o != nil {
		return *o
	}
	o, err := decode(r.def, e.bytes())
	if err != nil {
		// The bytes were made by encode or accepted by Load: a broken invariant.
		panic("store: row " + r.def.prefix + r.key + ": " + err.Error())
	}
	if r.def.cold {
		r.encoded.CompareAndSwap(e, e.with(&o))
	} else {
		r.decoded.Store(&o)
	}
	return o
}

// gave reports whether o is the object that readers of the row share.
func (r *row) gave(o Object) bool {
	d := r.decoded.Load()
	if e := r.encoded.Load(); d == nil && e != nil {
		d = e.was.Value()
	}
	return d != nil && *d == o
}

// bytes returns the encoded object, encoding it once.
func (r *row) bytes() []byte {
	if e := r.encoded.Load(); e != nil {
		return e.bytes()
	}
	r.encoded.CompareAndSwap(nil, &encoded{own: encode(r.def, *r.decoded.Load())})
	return r.encoded.Load().bytes()
}

// settle drops the decoded object of a cold row once it is encoded, and shares
// what other rows hold as well.
func (r *row) settle() {
	e := r.encoded.Load()
	if e == nil && r.def.volatile && r.def.cold {
		r.bytes()
		e = r.encoded.Load()
	}
	if !r.def.cold || e == nil {
		return
	}
	if r.def.alike != nil && e.middle == none {
		if from, to := r.def.alike(e.own); to-from >= alikeMin {
			e = e.split(from, to)
		}
	}
	if o := r.decoded.Load(); o != nil {
		e = e.with(o)
	}
	r.encoded.Store(e)
	r.decoded.Store(nil)
}

// tableState is one table at one moment.
type tableState struct {
	rows    *btree.BTreeG[*row]
	indexes []*btree.BTreeG[indexEntry]
	rev     Rev           // of the last write
	next    chan struct{} // closed when the table is committed in a later state
}

type indexEntry struct {
	value string
	row   *row
}

func newTableState(def *tableDef) *tableState {
	opts := btree.Options{NoLocks: true}
	ts := &tableState{
		rows: btree.NewBTreeGOptions(func(a, b *row) bool { return a.key < b.key }, opts),
		next: make(chan struct{}),
	}
	for range def.indexNames {
		ts.indexes = append(ts.indexes, btree.NewBTreeGOptions(indexLess, opts))
	}
	return ts
}

func indexLess(a, b indexEntry) bool {
	if c := cmp.Compare(a.value, b.value); c != 0 {
		return c < 0
	}
	return a.row.key < b.row.key
}

// copy returns a table state that shares everything until it is written.
func (ts *tableState) copy() *tableState {
	c := &tableState{
		rows: ts.rows.IsoCopy(), rev: ts.rev, next: make(chan struct{}),
		indexes: make([]*btree.BTreeG[indexEntry], len(ts.indexes)),
	}
	for i, ix := range ts.indexes {
		c.indexes[i] = ix.IsoCopy()
	}
	return c
}

// pivots are rows that have a key alone, to look others up by.
var pivots = sync.Pool{New: func() any { return new(row) }}

func (ts *tableState) get(key string) (*row, bool) {
	p := pivots.Get().(*row)
	p.key = key
	r, ok := ts.rows.Get(p)
	p.key = ""
	pivots.Put(p)
	return r, ok
}

// ascend calls f for the rows at or after from whose key has the prefix.
func (ts *tableState) ascend(from, prefix string, f func(*row) bool) {
	ts.rows.Ascend(&row{key: from}, func(r *row) bool {
		return strings.HasPrefix(r.key, prefix) && f(r)
	})
}

// rank returns how many rows have a key before the given one.
func (ts *tableState) rank(key string) int {
	return sort.Search(ts.rows.Len(), func(i int) bool {
		r, _ := ts.rows.GetAt(i)
		return r.key >= key
	})
}

func (ts *tableState) lookup(index int, value string, f func(*row) bool) {
	ts.indexes[index].Ascend(indexEntry{value, &row{}}, func(e indexEntry) bool {
		return e.value == value && f(e.row)
	})
}

// set replaces old (nil: none) by r (nil: delete) in the rows and the indexes.
func (ts *tableState) set(old, r *row) {
	if old != nil {
		for _, v := range old.indexed {
			if r == nil || !slices.Contains(r.indexed, v) { // else its entry is replaced
				ts.indexes[v.index].Delete(indexEntry{v.value, old})
			}
		}
	}
	switch {
	case r != nil:
		ts.rows.Set(r)
	case old != nil:
		ts.rows.Delete(old)
		return
	default:
		return
	}
	for _, v := range r.indexed {
		ts.indexes[v.index].Set(indexEntry{v.value, r})
	}
}

// state is all tables at one moment; immutable once published.
type state struct {
	rev      Rev // last durable write
	volatile Rev // last volatile write
	tables   map[*tableDef]*tableState
	sealed   chan struct{} // closed when the head moves past this state
	next     chan struct{} // closed when a later state is committed
	only     Sees          // which rows its readers see; nil: all
}

// Sees reports whether a row is seen: of the table, whose objects are of the group (empty
// too where they are of many, see Spec.Claims), at the key.
type Sees func(group string, table TableID, key object.Key) bool

// get returns the row at key where the state's readers see it.
func (s *state) get(def *tableDef, key string) (*row, bool) {
	r, ok := s.table(def).get(key)
	if !ok || !s.sees(r) {
		return nil, false
	}
	return r, true
}

func (s *state) sees(r *row) bool {
	return s.only == nil || s.only(r.def.gvk.Group, r.def.id, object.ParseKey(r.key))
}

// seen returns f for those rows that the state's readers see.
func (s *state) seen(f func(*row) bool) func(*row) bool {
	if s.only == nil {
		return f
	}
	return func(r *row) bool { return !s.sees(r) || f(r) }
}

func newState() *state {
	return &state{tables: map[*tableDef]*tableState{}, sealed: make(chan struct{}), next: make(chan struct{})}
}

func (s *state) table(def *tableDef) *tableState {
	ts, ok := s.tables[def]
	if !ok {
		panic("store: table " + string(def.id) + " is not part of this store")
	}
	return ts
}

// revOf returns the revision of the sequence def's table counts in.
func (s *state) revOf(def *tableDef) Rev {
	if def.volatile {
		return s.volatile
	}
	return s.rev
}

// Reader is what tables can be read from: a Snapshot or a Tx.
type Reader interface{ state() *state }

// Snapshot is all tables at one moment.
type Snapshot struct {
	s    *state
	next <-chan struct{}
}

func (s *Snapshot) state() *state { return s.s }

// Only returns the snapshot without the rows that sees says no of: what a caller may see
// of it. Many goroutines may ask sees at a time.
func (s *Snapshot) Only(sees Sees) *Snapshot {
	part := *s.s
	part.only = sees
	return &Snapshot{&part, s.next}
}

// Rev returns the revision of the last durable write the snapshot holds.
func (s *Snapshot) Rev() Rev { return s.s.rev }

// TableRev returns the revision up to which the snapshot shows t's table: what
// a list answers as its resourceVersion and a watch may resume from. It counts
// in t's own sequence where t is volatile.
func (s *Snapshot) TableRev(t Def) Rev { return s.s.revOf(t.definition()) }

// Next is closed when the store has a later snapshot of the same kind
// (committed or head).
func (s *Snapshot) Next() <-chan struct{} { return s.next }
