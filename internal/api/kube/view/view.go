// Package view shows one table of the store as the storage.Interface that
// k8s.io/apiserver's registry works on.
//
// It is thin: rows are the store's, history and revisions too; a view holds
// nothing. Reads come from committed snapshots. Read-modify-write works on the
// head state, and its answer leaves after the commit. Objects handed out are
// shallow copies, because encoding sets their TypeMeta. Rows that tables.Hidden
// names are not there, whoever asks; one that stops to be hidden is added.
package view

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"trireme/internal/api/kube/status"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Table is the untyped table a view shows.
type Table = *store.Table[store.Object, any]

// BeforePut runs inside the transaction that writes obj, before it is put; old
// is nil at creation. It may complete obj (addresses) or refuse it.
type BeforePut func(tx *store.Tx, obj, old store.Object) error

// View implements storage.Interface over one table.
type View struct {
	store     *store.Store
	table     Table
	prefix    string // of the keys the registry makes: "/pods/"
	beforePut BeforePut
	form      Form
	kept      kept
	sharing   sharing
	encodings map[string]Encoding // by media type
	versioner storage.APIObjectVersioner
}

// New returns a view of table whose keys start with prefix and a slash.
func New(s *store.Store, table Table, prefix string, beforePut BeforePut) *View {
	return &View{
		kept: kept{head: func() store.Rev { return s.Snapshot().TableRev(table) }}, store: s, table: table,
		prefix: strings.TrimSuffix(prefix, "/") + "/", beforePut: beforePut,
	}
}

// In returns the view with its objects in another form.
func (v *View) In(f Form) *View {
	v.form = f
	return v
}

// Encoding returns the view with how its events are encoded, by the media type of the
// answer: watches in these may write to their clients themselves.
func (v *View) Encoding(e map[string]Encoding) *View {
	v.encodings = e
	return v
}

// errChanged says that the row changed between the read and the write.
var errChanged = errors.New("the row changed meanwhile")

// Versioner implements storage.Interface.
func (v *View) Versioner() storage.Versioner { return v.versioner }

func (v *View) key(key string) object.Key {
	return object.ParseKey(v.form.Scope + strings.TrimPrefix(key, v.prefix))
}

// under returns what the table's keys start with below key: nothing for the
// whole table, else whole segments, because namespace "a" does not hold what is
// in "ab".
func (v *View) under(key string) string {
	rest := trimSlash(key, v.prefix)
	if rest != "" && !strings.HasSuffix(rest, "/") {
		rest += "/"
	}
	return v.form.Scope + rest
}

// Create implements storage.Interface.
func (v *View) Create(ctx context.Context, key string, obj, out runtime.Object, _ uint64) error {
	if obj.(store.Object).GetResourceVersion() != "" {
		return storage.ErrResourceVersionSetOnCreate
	}
	o, err := v.in(obj.(store.Object))
	if err != nil {
		return err
	}
	var row Row
	_, err = v.write(ctx, func(tx *store.Tx) error {
		if _, exists := v.table.Row(tx, v.key(key)); exists {
			return storage.NewKeyExistsError(key, 0)
		}
		if v.beforePut != nil {
			if err := v.beforePut(tx, o, nil); err != nil {
				return err
			}
		}
		row = v.put(tx, v.key(key), o)
		return nil
	})
	if err != nil {
		return v.told(ctx, err)
	}
	return v.set(out, row)
}

// write runs f in a transaction. What the store itself answers becomes a status:
// an error without one is the library's to log, as a defect of ours.
func (v *View) write(ctx context.Context, f func(*store.Tx) error) (store.Rev, error) {
	rev, err := v.store.Update(ctx, f)
	return rev, status.Of(err)
}

// put writes o and returns its row, which has its revision after the commit.
func (v *View) put(tx *store.Tx, key object.Key, o store.Object) Row {
	v.table.PutAt(tx, key, o)
	row, _ := v.table.Row(tx, key)
	return row
}

// Get implements storage.Interface.
func (v *View) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	snap, err := v.snapshot(ctx, opts.ResourceVersion)
	if err != nil {
		return err
	}
	row, ok := v.row(snap, v.key(key))
	switch {
	case ok:
		return v.set(out, row)
	case opts.IgnoreNotFound:
		return runtime.SetZeroValue(out)
	}
	return storage.NewKeyNotFoundError(key, 0)
}

// snapshot returns a committed snapshot that is no older than the resource
// version; it does not wait long for one that is not there yet.
func (v *View) snapshot(ctx context.Context, resourceVersion string) (*store.Snapshot, error) {
	snap := v.store.Snapshot()
	if resourceVersion == "" || resourceVersion == "0" {
		return snap, nil
	}
	want, err := v.versioner.ParseResourceVersion(resourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	if have := uint64(snap.TableRev(v.table)); have < want {
		return nil, storage.NewTooLargeResourceVersionError(want, have, 1)
	}
	return snap, nil
}

// GuaranteedUpdate implements storage.Interface. tryUpdate runs outside the
// store's lock; the write is dropped and tried again if the row changed.
func (v *View) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	pre *storage.Preconditions, tryUpdate storage.UpdateFunc, _ runtime.Object) error {
	u := update{key, out, ignoreNotFound, pre, tryUpdate}
	for {
		err := v.try(ctx, &u)
		if !errors.Is(err, errChanged) {
			return v.told(ctx, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// update is what GuaranteedUpdate was asked for.
type update struct {
	key            string
	out            runtime.Object
	ignoreNotFound bool
	pre            *storage.Preconditions
	f              storage.UpdateFunc
}

// try reads, calls the function and writes, once; errChanged: try again.
func (v *View) try(ctx context.Context, u *update) error {
	k := v.key(u.key)
	row, ok := v.row(v.store.Head(), k)
	cur, rev := v.empty(), store.Rev(0)
	switch {
	case ok:
		var err error
		if cur, err = v.out(row); err != nil {
			return err
		}
		rev = row.Rev()
	case u.ignoreNotFound:
	default:
		return storage.NewKeyNotFoundError(u.key, 0)
	}
	in := cur.DeepCopyObject().(store.Object)
	if err := u.pre.Check(u.key, in); err != nil {
		return err
	}
	ret, _, err := u.f(in, storage.ResponseMeta{ResourceVersion: uint64(rev)})
	if err != nil {
		return err
	}
	next, err := v.in(ret.(store.Object))
	if err != nil {
		return err
	}
	if ok && same(row.Object(), next) {
		if err := v.committed(ctx, rev); err != nil {
			return err
		}
		return v.set(u.out, row)
	}
	var put Row
	_, err = v.write(ctx, func(tx *store.Tx) error {
		now, exists := v.table.Row(tx, k)
		if exists != ok || (exists && now.Rev() != rev) {
			return errChanged
		}
		if v.beforePut != nil {
			var old store.Object
			if ok {
				old = row.Object()
			}
			if err := v.beforePut(tx, next, old); err != nil {
				return err
			}
		}
		put = v.put(tx, k, next)
		return nil
	})
	if err != nil {
		return err
	}
	return v.set(u.out, put)
}

// committed returns when the row of that revision may leave the manager: the
// head it was read from runs ahead of the log.
func (v *View) committed(ctx context.Context, rev store.Rev) error {
	for {
		snap := v.store.Snapshot()
		if snap.TableRev(v.table) >= rev {
			return nil
		}
		select {
		case <-snap.Next():
		case <-v.store.Dead():
			return statusUnavailable()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// told returns err when what it says is committed: that a row is there, has gone or
// is another was found on the head state. Who is told that a pod has gone must not
// find it with the next request.
func (v *View) told(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if late := v.committed(ctx, v.table.Rev(v.store.Head())); late != nil {
		return late
	}
	return err
}

func statusUnavailable() error { return apierrors.NewServiceUnavailable("the store is closed") }

// same reports whether writing next over cur would change nothing.
func same(cur, next store.Object) bool {
	rv := next.GetResourceVersion()
	next.SetResourceVersion(cur.GetResourceVersion())
	next.GetObjectKind().SetGroupVersionKind(cur.GetObjectKind().GroupVersionKind())
	equal := equality.Semantic.DeepEqual(cur, next)
	if !equal {
		next.SetResourceVersion(rv)
	}
	return equal
}

// Delete implements storage.Interface.
func (v *View) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions,
	validate storage.ValidateObjectFunc, _ runtime.Object, _ storage.DeleteOptions) error {
	return v.told(ctx, v.remove(ctx, key, out, pre, validate))
}

func (v *View) remove(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions, validate storage.ValidateObjectFunc) error {
	k := v.key(key)
	for {
		row, ok := v.row(v.store.Head(), k)
		if !ok {
			return storage.NewKeyNotFoundError(key, 0)
		}
		o, err := v.out(row)
		if err != nil {
			return err
		}
		o = o.DeepCopyObject().(store.Object)
		if err := pre.Check(key, o); err != nil {
			return err
		}
		if err := validate(ctx, o); err != nil {
			return err
		}
		rev, err := v.write(ctx, func(tx *store.Tx) error {
			if now, exists := v.table.Row(tx, k); !exists || now.Rev() != row.Rev() {
				return errChanged
			}
			v.table.Delete(tx, k)
			return nil
		})
		switch {
		case errors.Is(err, errChanged) && ctx.Err() == nil:
			continue
		case err != nil:
			return err
		}
		o.SetResourceVersion(rev.String())
		return set(out, o)
	}
}

// Stats implements storage.Interface.
func (v *View) Stats(context.Context) (storage.Stats, error) {
	if v.form.Scope == "" {
		return storage.Stats{ObjectCount: int64(v.table.Len(v.store.Snapshot()))}, nil
	}
	n := int64(0)
	for range v.table.RowsFrom(v.store.Snapshot(), v.form.Scope, "") {
		n++
	}
	return storage.Stats{ObjectCount: n}, nil
}

// ReadinessCheck implements storage.Interface.
func (v *View) ReadinessCheck() error {
	select {
	case <-v.store.Dead():
		return errors.New("the store is closed")
	default:
		return nil
	}
}

// RequestWatchProgress implements storage.Interface: watchers read the store's
// own history and are never behind it, so there is nothing to ask for.
func (v *View) RequestWatchProgress(context.Context) error { return nil }

// GetCurrentResourceVersion implements storage.Interface.
func (v *View) GetCurrentResourceVersion(context.Context) (uint64, error) {
	return uint64(v.store.Snapshot().TableRev(v.table)), nil
}

// EnableResourceSizeEstimation implements storage.Interface.
func (v *View) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// CompactRevision implements storage.Interface: 0 is "not known".
func (v *View) CompactRevision() int64 { return 0 }

// set makes *out what the registry shall see of the row.
func (v *View) set(out runtime.Object, row Row) error {
	o, err := v.out(row)
	if err != nil {
		return err
	}
	return set(out, o)
}

// set makes *out a shallow copy of o.
func set(out runtime.Object, o runtime.Object) error {
	dst, err := conversion.EnforcePtr(out)
	if err != nil {
		return err
	}
	src := reflect.ValueOf(o).Elem()
	if dst.Type() != src.Type() {
		return fmt.Errorf("a %s was asked for, the table holds %s", dst.Type(), src.Type())
	}
	dst.Set(src)
	return nil
}

// shallow returns a copy of o that shares everything but its outermost struct.
func shallow(o runtime.Object) runtime.Object {
	c := reflect.New(reflect.TypeOf(o).Elem())
	c.Elem().Set(reflect.ValueOf(o).Elem())
	return c.Interface().(runtime.Object)
}

// GetList implements storage.Interface.
func (v *View) GetList(ctx context.Context, key string, opts storage.ListOptions, listObj runtime.Object) error {
	p, err := v.page(ctx, opts)
	if err != nil {
		return err
	}
	items, err := meta.GetItemsPtr(listObj)
	if err != nil {
		return err
	}
	dst, err := conversion.EnforcePtr(items)
	if err != nil {
		return err
	}
	dst.Set(reflect.MakeSlice(dst.Type(), 0, 0))
	pred := opts.Predicate
	if !opts.Recursive {
		if row, ok := v.row(p.snap, v.key(key)); ok {
			if err := v.appendMatch(dst, row, pred); err != nil {
				return err
			}
		}
		return v.versioner.UpdateList(listObj, uint64(p.rev), "", nil)
	}
	var last string
	more := false
	var remaining *int64
	for row := range v.table.RowsFrom(p.snap, v.under(key), v.from(p)) {
		if pred.Limit > 0 && int64(dst.Len()) >= pred.Limit {
			more = true
			if pred.Empty() { // what a selector would leave of the rest is not known without looking
				n := int64(v.table.CountFrom(p.snap, v.under(key), row.Key().String()))
				remaining = &n
			}
			break
		}
		last = strings.TrimPrefix(row.Key().String(), v.form.Scope)
		if err := v.appendMatch(dst, row, pred); err != nil {
			return err
		}
	}
	next := ""
	if more {
		v.kept.keep(p.rev, p.snap)
		next, err = storage.EncodeContinue(v.prefix+last+"\x00", v.prefix, int64(p.rev))
		if err != nil {
			return err
		}
	}
	return v.versioner.UpdateList(listObj, uint64(p.rev), next, remaining)
}

func (v *View) appendMatch(dst reflect.Value, row Row, pred storage.SelectionPredicate) error {
	if tables.Hidden(row) {
		return nil
	}
	o, err := v.out(row)
	if err != nil {
		return err
	}
	ok, err := pred.Matches(o)
	if err != nil || !ok {
		return err
	}
	dst.Set(reflect.Append(dst, reflect.ValueOf(o).Elem()))
	return nil
}

// page is where a list reads.
type page struct {
	snap *store.Snapshot
	rev  store.Rev // what the list answers
	from string    // the first key
}

// from is the first key of the table that the page reads.
func (v *View) from(p page) string { return v.form.Scope + p.from }

// page finds where a list, or its next page, reads. A moment that is not kept
// any more is 410, with a token to go on inconsistently where the list was in
// pages.
func (v *View) page(ctx context.Context, opts storage.ListOptions) (page, error) {
	if opts.Predicate.Continue != "" {
		return v.nextPage(opts.Predicate.Continue)
	}
	snap, err := v.snapshot(ctx, opts.ResourceVersion)
	if err != nil {
		return page{}, err
	}
	if opts.ResourceVersionMatch != metav1.ResourceVersionMatchExact {
		return page{snap, snap.TableRev(v.table), ""}, nil
	}
	want, err := parseRev(opts.ResourceVersion)
	if err != nil {
		return page{}, err
	}
	if exact := v.exactly(want, snap); exact != nil {
		return page{exact, want, ""}, nil
	}
	return page{}, apierrors.NewResourceExpired(fmt.Sprintf("the exact resource version %s is not kept: list without resourceVersionMatch=Exact", want))
}

func (v *View) nextPage(token string) (page, error) {
	snap := v.store.Snapshot()
	from, was, err := storage.DecodeContinue(token, v.prefix)
	if err != nil {
		return page{}, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: %v", err))
	}
	from = strings.TrimPrefix(from, v.prefix)
	if was <= 0 {
		return page{snap, snap.TableRev(v.table), from}, nil
	}
	if exact := v.exactly(store.Rev(was), snap); exact != nil && !v.kept.ended(store.Rev(was)) {
		return page{exact, store.Rev(was), from}, nil
	}
	next, err := storage.EncodeContinue(v.prefix+from, v.prefix, -1)
	if err != nil {
		return page{}, err
	}
	e := apierrors.NewResourceExpired("the list is too old to go on with; start again, or go on with the inconsistent continue token")
	e.ErrStatus.ListMeta.Continue = next
	return page{}, e
}

// exactly returns the table as it was at rev: the newest snapshot where nothing
// was written to it since, or one that was kept; nil if there is none.
func (v *View) exactly(rev store.Rev, newest *store.Snapshot) *store.Snapshot {
	if v.table.Rev(newest) <= rev && rev <= newest.TableRev(v.table) {
		return newest
	}
	return v.kept.at(rev)
}

func parseRev(s string) (store.Rev, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q: want a non-negative integer", s))
	}
	return store.Rev(n), nil
}
