package view

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Row is one row of a view's table.
type Row = store.Row[store.Object, any]

// Form says how the registry's objects stand in the table. The zero Form: as
// they are.
type Form struct {
	// Scope is what the keys of the view's rows begin with in the table; empty:
	// the view shows all of it.
	Scope string
	// In returns what the table shall hold for o, which it may keep.
	In func(o store.Object) (store.Object, error)
	// Out returns what the registry shall see of a row. Its outermost struct and
	// its metadata are the caller's.
	Out func(Row) (store.Object, error)
	// New returns an empty object of the registry's type.
	New func() runtime.Object
}

// Converted is the form of rows that a scheme converts: the registry works on
// the group's internal version, the table holds stored.
func Converted(s *runtime.Scheme, stored schema.GroupVersion, hub func() runtime.Object) Form {
	internal := schema.GroupVersion{Group: stored.Group, Version: runtime.APIVersionInternal}
	to := func(o store.Object, gv schema.GroupVersion) (store.Object, error) {
		out, err := s.ConvertToVersion(o, gv)
		if err != nil {
			return nil, fmt.Errorf("converting %s to %s: %w", o.GetName(), gv, err)
		}
		return out.(store.Object), nil
	}
	return Form{
		In:  func(o store.Object) (store.Object, error) { return to(o, stored) },
		Out: func(r Row) (store.Object, error) { return to(r.Object(), internal) },
		New: hub,
	}
}

// Encoded is the form of custom objects below scope: codec brings an object into
// its stored version, and a stored one into the version that the registry works
// on, which may ask a webhook.
func Encoded(codec runtime.Codec, scope string, empty func() runtime.Object) Form {
	return Form{
		Scope: scope,
		In: func(o store.Object) (store.Object, error) {
			b, err := runtime.Encode(codec, o)
			if err != nil {
				return nil, err
			}
			u := &unstructured.Unstructured{}
			return u, u.UnmarshalJSON(b)
		},
		Out: func(r Row) (store.Object, error) {
			o, _, err := codec.Decode(r.Encoded(), nil, empty())
			if err != nil {
				return nil, err
			}
			return o.(store.Object), nil
		},
		New: empty,
	}
}

// row returns the row at key as the door sees the table: not, where it is hidden.
func (v *View) row(r store.Reader, key object.Key) (Row, bool) {
	row, ok := v.table.Row(r, key)
	return row, ok && !tables.Hidden(row)
}

// in returns what the table shall hold for o, which stays the caller's.
func (v *View) in(o store.Object) (store.Object, error) {
	c := o.DeepCopyObject().(store.Object)
	if v.form.In == nil {
		return c, nil
	}
	return v.form.In(c)
}

// out returns a row as the registry's object. It is shared with the table.
func (v *View) out(r Row) (store.Object, error) {
	if v.form.Out == nil {
		return r.Object(), nil
	}
	return v.form.Out(r)
}

func (v *View) empty() store.Object {
	if v.form.New == nil {
		return v.table.New()
	}
	return v.form.New().(store.Object)
}
