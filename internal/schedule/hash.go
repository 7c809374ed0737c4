package schedule

import (
	"encoding/binary"
	"hash/maphash"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// hash makes keys of what is asked. Nobody outside can know its seed, and so make two things that differ have one key.
type hash struct{ maphash.Hash }

var seed = maphash.MakeSeed()

func newHash() *hash {
	h := &hash{}
	h.SetSeed(seed)
	return h
}

func (h *hash) number(n int64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}

func (h *hash) string(s string) {
	h.number(int64(len(s)))
	h.WriteString(s)
}

func (h *hash) bytes(b []byte, err error) {
	if err != nil {
		panic("schedule: encoding a part of a pod: " + err.Error())
	}
	h.number(int64(len(b)))
	h.Write(b)
}

func (h *hash) texts(m map[string]string) {
	h.number(int64(len(m)))
	if len(m) > 1 {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			h.string(k)
			h.string(m[k])
		}
		return
	}
	for k, v := range m {
		h.string(k)
		h.string(v)
	}
}

func (h *hash) tolerations(list []corev1.Toleration) {
	h.number(int64(len(list)))
	for i := range list {
		t := &list[i]
		h.string(t.Key)
		h.string(string(t.Operator))
		h.string(t.Value)
		h.string(string(t.Effect))
	}
}

func (h *hash) demand(d object.Demand) {
	h.number(d.CPUMilli)
	h.number(d.MemoryBytes)
	h.number(d.EphemeralBytes)
	h.number(int64(len(d.Extended)))
	for _, name := range slices.Sorted(maps.Keys(d.Extended)) {
		h.string(string(name))
		h.number(d.Extended[name])
	}
}
