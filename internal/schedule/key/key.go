// Package key makes keys of what pods ask, by which the scheduler finds those that ask the same.
//
// It is pure but for the seed, which differs from process to process: a key is not to be kept or sent.
//
// How to debug: two pods that should be of one class, and are not, differ in what the scheduler's keyOf writes.
package key

import (
	"encoding/binary"
	"hash/maphash"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// Hash makes a key of what is written to it. Nobody outside can know its seed, and so make two things that differ have one key.
type Hash struct{ maphash.Hash }

var seed = maphash.MakeSeed()

// New returns the key of nothing.
func New() *Hash {
	h := &Hash{}
	h.SetSeed(seed)
	return h
}

// Number writes a number.
func (h *Hash) Number(n int64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}

// String writes a text.
func (h *Hash) String(s string) {
	h.Number(int64(len(s)))
	h.WriteString(s)
}

// Bytes writes what was encoded; that it could not be is a broken invariant.
func (h *Hash) Bytes(b []byte, err error) {
	if err != nil {
		panic("key: encoding a part of a pod: " + err.Error())
	}
	h.Number(int64(len(b)))
	h.Write(b)
}

// Texts writes a map, in no order.
func (h *Hash) Texts(m map[string]string) {
	h.Number(int64(len(m)))
	if len(m) > 1 {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			h.String(k)
			h.String(m[k])
		}
		return
	}
	for k, v := range m {
		h.String(k)
		h.String(v)
	}
}

// Tolerations writes tolerations, in their order.
func (h *Hash) Tolerations(list []corev1.Toleration) {
	h.Number(int64(len(list)))
	for i := range list {
		t := &list[i]
		h.String(t.Key)
		h.String(string(t.Operator))
		h.String(t.Value)
		h.String(string(t.Effect))
	}
}

// Demand writes a demand.
func (h *Hash) Demand(d object.Demand) {
	h.Number(d.CPUMilli)
	h.Number(d.MemoryBytes)
	h.Number(d.EphemeralBytes)
	h.Number(int64(len(d.Extended)))
	for _, name := range slices.Sorted(maps.Keys(d.Extended)) {
		h.String(string(name))
		h.Number(d.Extended[name])
	}
}
