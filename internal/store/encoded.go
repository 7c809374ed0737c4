package store

import (
	"unique"
	"unsafe"
	"weak"
)

// alikeMin is the size from which a part is worth sharing: the table of shared
// parts costs about a tenth of it.
const alikeMin = 512

// encoded is an object's encoding. Rows that are alike (replicas of one template)
// share the middle of theirs, which lives as long as one of them does.
type encoded struct {
	own    []byte
	at     int // where in own the middle belongs
	middle unique.Handle[string]
	was    weak.Pointer[Object] // decoded, until it is collected
}

var none unique.Handle[string]

// with returns the same encoding, which knows its decoded object.
func (e *encoded) with(o *Object) *encoded {
	return &encoded{own: e.own, at: e.at, middle: e.middle, was: weak.Make(o)}
}

// bytes returns the whole encoding, which is not to be changed. It is put together
// anew where a part is shared.
func (e *encoded) bytes() []byte {
	if e.middle == none {
		return e.own
	}
	middle := e.middle.Value()
	b := make([]byte, 0, len(e.own)+len(middle))
	b = append(b, e.own[:e.at]...)
	b = append(b, middle...)
	return append(b, e.own[e.at:]...)
}

// split returns the same encoding with own[from:to] shared.
func (e *encoded) split(from, to int) *encoded {
	own := make([]byte, 0, len(e.own)-(to-from))
	own = append(append(own, e.own[:from]...), e.own[to:]...)
	// unique copies what it keeps.
	return &encoded{own: own, at: from, middle: unique.Make(unsafe.String(&e.own[from], to-from))}
}
