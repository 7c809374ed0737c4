// Package object holds the nouns: Kubernetes' own API types as they are, our
// own groups beside them, and what is true of a noun wherever it is used: its
// key, its defaults, its validation, the reading of its state.
//
// It does no I/O, reads no clock, and knows nothing of tables or doors.
package object
