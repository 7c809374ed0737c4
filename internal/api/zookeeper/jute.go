package zookeeper

import (
	"encoding/binary"
	"errors"
)

// The protocol's records are jute: numbers in the network's order, strings and buffers
// after their length, vectors after their count.

var errShort = errors.New("the request is shorter than what it says")

// reader reads a record. The first error stays.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err = errShort
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) int() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) long() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) bool() bool {
	b := r.take(1)
	return b != nil && b[0] != 0
}

// buffer reads bytes; a length of -1 stands for none.
func (r *reader) buffer() []byte {
	n := r.int()
	if n == -1 {
		return nil
	}
	return r.take(int(n))
}

func (r *reader) string() string { return string(r.buffer()) }

// strings reads a vector of strings.
func (r *reader) strings() (all []string) {
	n := r.int()
	for i := int32(0); i < n && r.err == nil; i++ {
		all = append(all, r.string())
	}
	return all
}

// writer makes a record, with room for its length in front.
type writer struct{ b []byte }

func newWriter() *writer { return &writer{make([]byte, 4, 128)} }

func (w *writer) int(v int32)     { w.b = binary.BigEndian.AppendUint32(w.b, uint32(v)) }
func (w *writer) long(v int64)    { w.b = binary.BigEndian.AppendUint64(w.b, uint64(v)) }
func (w *writer) string(s string) { w.int(int32(len(s))); w.b = append(w.b, s...) }

func (w *writer) bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	w.b = append(w.b, b)
}

// frame returns the record after its length.
func (w *writer) frame() []byte {
	binary.BigEndian.PutUint32(w.b, uint32(len(w.b)-4))
	return w.b
}
