package store

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
)

// Rev is a revision: the place of one write in the order of all writes. As
// decimal text it is the object's resourceVersion.
type Rev int64

// String returns the revision as a resourceVersion.
func (r Rev) String() string { return strconv.FormatInt(int64(r), 10) }

// TableID names a table: the plural resource, "pods".
type TableID string

// Object is what a table can hold: a pointer to an API type.
type Object interface {
	metav1.Object
	runtime.Object
}

// Spec declares a table of objects of type T (a pointer) whose rows carry a
// head of type H. The zero value of a field that is not marked required is
// useful.
type Spec[T Object, H any] struct {
	ID  TableID                 // required, unique in a Store
	GVK schema.GroupVersionKind // required: the version that is stored
	// Prefix of the table's keys in the log, with both slashes:
	// "/registry/pods/". Required.
	Prefix string
	// New returns an empty object. Required.
	New func() T
	// Head extracts what loops look at without decoding the object. Nil: the
	// zero H.
	Head func(T) H
	// Indexes, by name. Each returns the values under which the row is found.
	Indexes map[string]func(T) []string
	// Namespaced: the objects live in namespaces.
	Namespaced bool
	// Cold drops decoded objects after the commit.
	Cold bool
	// Alike returns which part of an encoded object is likely to be the same in
	// other rows, from == to where none is: rows of a Cold table keep one copy of
	// equal parts. Nil: none is.
	Alike func(encoded []byte) (from, to int)
	// Volatile keeps the table out of the log: its rows die with the process.
	Volatile bool
	// Claims says which of the log's rows below Prefix, that no table with a
	// longer prefix has, are this table's; nil: all of them. A table with Claims
	// holds objects of many kinds: GVK is empty, its objects name their own, and
	// its keys are no namespace and name, so that rows are put with PutAt.
	Claims func(key string, value []byte) bool
	// Older reads a value that Kubernetes stored in another version than the
	// table's; false: it is in the table's. Nil: none is.
	Older func(value []byte) (T, bool, error)
}

// Table is a declared table. It holds no rows itself: a Store opened with it
// does, so one Table value serves any number of Stores.
type Table[T Object, H any] struct {
	spec Spec[T, H]
	def  *tableDef
}

// Def is the untyped half of a Table: what Open takes.
type Def interface{ definition() *tableDef }

// NewTable declares a table. It panics where the declaration is incomplete.
func NewTable[T Object, H any](spec Spec[T, H]) *Table[T, H] {
	if spec.ID == "" || spec.New == nil || !strings.HasPrefix(spec.Prefix, "/") || !strings.HasSuffix(spec.Prefix, "/") {
		panic(fmt.Sprintf("store: incomplete table declaration %+v", spec.ID))
	}
	t := &Table[T, H]{spec: spec}
	t.def = &tableDef{
		id: spec.ID, gvk: spec.GVK, prefix: spec.Prefix, cold: spec.Cold, volatile: spec.Volatile,
		namespaced: spec.Namespaced, alike: spec.Alike, claims: spec.Claims,
		newObject: func() Object { return spec.New() },
		head: func(o Object) any {
			if spec.Head == nil {
				var none H
				return none
			}
			return spec.Head(o.(T))
		},
	}
	if spec.Older != nil {
		t.def.older = func(b []byte) (Object, bool, error) { return spec.Older(b) }
	}
	for name := range spec.Indexes {
		t.def.indexNames = append(t.def.indexNames, name)
	}
	slices.Sort(t.def.indexNames)
	for _, name := range t.def.indexNames {
		f := spec.Indexes[name]
		t.def.indexKeys = append(t.def.indexKeys, func(o Object) []string { return f(o.(T)) })
	}
	return t
}

func (t *Table[T, H]) definition() *tableDef { return t.def }

// Any returns the same table without its types, for code that works on every
// noun alike (garbage collection, the Kubernetes door's storage view).
func (t *Table[T, H]) Any() *Table[Object, any] {
	return &Table[Object, any]{spec: Spec[Object, any]{ID: t.spec.ID}, def: t.def}
}

// ID returns the table's name.
func (t *Table[T, H]) ID() TableID { return t.def.id }

// GVK returns the version and kind that the table stores.
func (t *Table[T, H]) GVK() schema.GroupVersionKind { return t.def.gvk }

// Namespaced reports whether the table's objects live in namespaces.
func (t *Table[T, H]) Namespaced() bool { return t.def.namespaced }

// New returns an empty object of the table's type.
func (t *Table[T, H]) New() T { return t.def.newObject().(T) }

// HasIndex reports whether By may be called with the index.
func (t *Table[T, H]) HasIndex(index string) bool { return slices.Contains(t.def.indexNames, index) }

// Row is one row as loops see it. The zero Row is no row.
type Row[T Object, H any] struct{ r *row }

// Key returns the row's key.
func (r Row[T, H]) Key() object.Key { return object.ParseKey(r.r.key) }

// Rev returns the revision of the row's last write, 0 within the transaction
// that writes it.
func (r Row[T, H]) Rev() Rev { return r.r.rev }

// Head returns what the table's Head function extracted, the zero H of a row that was
// read back from the log's history. Shared; do not change.
func (r Row[T, H]) Head() H {
	h, _ := r.r.head.(H)
	return h
}

// Indexed returns the values under which the named index finds the row, without
// decoding it. It panics if the table has no such index.
func (r Row[T, H]) Indexed(index string) []string {
	i := slices.Index(r.r.def.indexNames, index)
	if i < 0 {
		panic(fmt.Sprintf("store: table %s has no index %q", r.r.def.id, index))
	}
	var values []string
	for _, v := range r.r.indexed {
		if v.index == i {
			values = append(values, v.value)
		}
	}
	return values
}

// Object returns the whole object, decoding it if need be. Shared: change a
// DeepCopy.
func (r Row[T, H]) Object() T { return r.r.object().(T) }

// Raw returns the object's protobuf encoding, nil where its type has none. It is
// shared by all who ask: do not change it.
func (r Row[T, H]) Raw() []byte {
	if b := raw(r.r.bytes()); b != nil {
		return b
	}
	m, ok := any(r.r.object()).(protoMessage) // stored as JSON by another Kubernetes
	if !ok {
		return nil
	}
	b := make([]byte, m.Size())
	n, err := m.MarshalToSizedBuffer(b)
	if err != nil {
		panic("store: encoding " + r.r.key + ": " + err.Error())
	}
	return b[:n]
}

// Stored returns the object as it stands in the log, in Kubernetes' protobuf
// envelope; nil where it is not protobuf. It is shared by all who ask: do not
// change it.
func (r Row[T, H]) Stored() []byte {
	if b := r.r.bytes(); bytes.HasPrefix(b, protoPrefix) {
		return b
	}
	return nil
}

// Encoded returns the row as it stands in the log. Shared; do not change.
func (r Row[T, H]) Encoded() []byte { return r.r.bytes() }

// Get returns the object at key, false if there is none.
func (t *Table[T, H]) Get(r Reader, key object.Key) (T, bool) {
	row, ok := r.state().get(t.def, key.String())
	if !ok {
		var none T
		return none, false
	}
	return row.object().(T), true
}

// Row returns the row at key without decoding it, false if there is none.
func (t *Table[T, H]) Row(r Reader, key object.Key) (Row[T, H], bool) {
	row, ok := r.state().get(t.def, key.String())
	return Row[T, H]{row}, ok
}

// Len returns how many rows the table has.
func (t *Table[T, H]) Len(r Reader) int { return t.CountFrom(r, "", "") }

// Rev returns the revision of the last write to the table that r sees.
func (t *Table[T, H]) Rev(r Reader) Rev { return r.state().table(t.def).rev }

// All returns every object in key order.
func (t *Table[T, H]) All(r Reader) iter.Seq[T] { return objects(t.Rows(r, "")) }

// In returns the objects of one namespace in key order.
func (t *Table[T, H]) In(r Reader, namespace string) iter.Seq[T] {
	return objects(t.Rows(r, namespace))
}

// Rows returns the rows of one namespace, or of all where it is empty, in key
// order.
func (t *Table[T, H]) Rows(r Reader, namespace string) iter.Seq[Row[T, H]] {
	prefix := ""
	if namespace != "" {
		prefix = namespace + "/"
	}
	return t.RowsFrom(r, prefix, "")
}

// RowsFrom returns the rows whose key as text ("namespace/name") has the prefix
// and is not before from, in key order.
func (t *Table[T, H]) RowsFrom(r Reader, prefix, from string) iter.Seq[Row[T, H]] {
	st, ts := r.state(), r.state().table(t.def)
	return func(yield func(Row[T, H]) bool) {
		ts.ascend(max(prefix, from), prefix, st.seen(func(row *row) bool { return yield(Row[T, H]{row}) }))
	}
}

// CountFrom returns how many rows RowsFrom yields, without a walk over them but where r
// does not see all.
func (t *Table[T, H]) CountFrom(r Reader, prefix, from string) int {
	if r.state().only != nil {
		n := 0
		for range t.RowsFrom(r, prefix, from) {
			n++
		}
		return n
	}
	ts := r.state().table(t.def)
	end := ts.rows.Len()
	if prefix != "" {
		end = ts.rank(prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1))
	}
	return max(0, end-ts.rank(max(prefix, from)))
}

// By returns the rows found under value in the named index, in key order. It
// panics if the table has no such index.
func (t *Table[T, H]) By(r Reader, index, value string) iter.Seq[Row[T, H]] {
	i := slices.Index(t.def.indexNames, index)
	if i < 0 {
		panic(fmt.Sprintf("store: table %s has no index %q", t.def.id, index))
	}
	st, ts := r.state(), r.state().table(t.def)
	return func(yield func(Row[T, H]) bool) {
		ts.lookup(i, value, st.seen(func(row *row) bool { return yield(Row[T, H]{row}) }))
	}
}

// Put creates or replaces the object's row. The store owns o from then on; it
// fills in an empty UID and creation time. Putting back the very object that
// the table holds panics: change a DeepCopy.
func (t *Table[T, H]) Put(tx *Tx, o T) {
	if t.def.claims != nil {
		panic(fmt.Sprintf("store: the keys of %s are no namespace and name: use PutAt", t.def.id))
	}
	tx.put(t.def, object.KeyOf(o).String(), o)
}

// PutAt is Put for code that works on every table: key is the one that the
// object has, or shall have.
func (t *Table[T, H]) PutAt(tx *Tx, key object.Key, o T) { tx.put(t.def, key.String(), o) }

// Delete removes the row at key, if there is one.
func (t *Table[T, H]) Delete(tx *Tx, key object.Key) { tx.remove(t.def, key.String()) }

// Removed reports whether the transaction has removed a row at key that was there
// when it began. Who makes another object of that name must wait for the next
// transaction (a loop: return tx.Now()), or watchers would see the old object
// change instead of one end and another begin.
func (t *Table[T, H]) Removed(tx *Tx, key object.Key) bool {
	w := tx.writes[writeKey{t.def, key.String()}]
	return w != nil && w.old != nil && w.new == nil
}

// Changed returns, in key order, the keys written or deleted since the reading
// loop's last good pass, whoever wrote them; all keys on a full pass. Outside a
// loop it returns all keys.
func (t *Table[T, H]) Changed(tx *Tx) iter.Seq[object.Key] {
	return func(yield func(object.Key) bool) {
		for _, k := range tx.changed(t.def) {
			if !yield(object.ParseKey(k)) {
				return
			}
		}
	}
}

func objects[T Object, H any](rows iter.Seq[Row[T, H]]) iter.Seq[T] {
	return func(yield func(T) bool) {
		for r := range rows {
			if !yield(r.Object()) {
				return
			}
		}
	}
}
