package store_test

import (
	"testing"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// FuzzDecode: any bytes are a row of a table or an error; a row is written and read
// again without a loss.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("k8s\x00\x0a\x00\x12\x00"))
	f.Add([]byte("k8s\x00"))
	f.Add([]byte(`{"apiVersion":"v1","metadata":{"name":"a"}}`))
	f.Add([]byte(`{"apiVersion":"apiextensions.k8s.io/v1beta1","spec":{"version":"v1","validation":{}}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, table := range tables.All() {
			o, err := store.Decode(table, in)
			if err != nil {
				continue
			}
			if _, err := store.Decode(table, store.Encode(table, o)); err != nil {
				t.Errorf("%s: what was written is not read: %v", table.ID(), err)
			}
		}
	})
}
