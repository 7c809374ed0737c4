// Package kind holds the error kinds every layer agrees on.
//
// A layer that finds something wrong returns an *Error; a caller branches on
// the kind with Is and never on a string. Each front door owns one table from
// Kind to its wire status, so a new kind means one new line a door.
//
// It is not for wrapping: add facts with fmt.Errorf("…: %w", err); the kind
// survives the wrapping.
package kind

import (
	"errors"
	"fmt"
)

// Kind is the class of an error: what a caller can do about it.
type Kind uint8

// The kinds. Internal is the zero value: an error nobody classified.
const (
	Internal        Kind = iota // a defect of ours, or an unclassified cause
	NotFound                    // the named object does not exist
	Exists                      // an object of that name exists already
	Conflict                    // the object changed since it was read; read again
	Invalid                     // the input breaks a rule; Field names where
	Malformed                   // the input cannot be decoded at all
	Denied                      // the caller is known and may not
	Unauthenticated             // the caller is not known
	Gone                        // the asked-for history was dropped; list again
	Unavailable                 // try again later: no leader, log not writable, agent away
	Exhausted                   // a quota, pool or limit is used up
	TooLarge                    // the input is over a size limit
	Timeout                     // the deadline passed first
	Unsupported                 // it is known what is asked for, and not done here
)

var names = [...]string{"internal", "not found", "exists", "conflict", "invalid", "malformed", "denied",
	"unauthenticated", "gone", "unavailable", "exhausted", "too large", "timeout", "unsupported"}

// All returns every kind, for tests that check a door's table is complete.
func All() []Kind {
	all := make([]Kind, len(names))
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// String returns the kind in lower-case words.
func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is a classified error. Op says what was being done ("creating pod"),
// Object what it was done to ("default/web-0"), Field the offending input
// field ("spec.replicas"); each may be empty.
type Error struct {
	Kind   Kind
	Op     string
	Object string
	Field  string
	Err    error
}

// New returns an *Error of the given kind whose cause is formatted as by fmt.Errorf.
func New(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Err: fmt.Errorf(format, args...)}
}

// Error returns "op object: field: cause (kind)" less the empty parts.
func (e *Error) Error() string {
	s := e.Op
	if e.Object != "" {
		if s != "" {
			s += " "
		}
		s += e.Object
	}
	if e.Field != "" {
		if s != "" {
			s += ": "
		}
		s += e.Field
	}
	switch {
	case e.Err != nil && s != "":
		return s + ": " + e.Err.Error()
	case e.Err != nil:
		return e.Err.Error()
	case s != "":
		return s + ": " + e.Kind.String()
	}
	return e.Kind.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Of returns the kind of the first *Error in err's chain, Internal if none.
func Of(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is classified and of kind k.
func Is(err error, k Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}
