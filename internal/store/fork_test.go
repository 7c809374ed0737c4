package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestFork: a fork goes on from a snapshot, and neither store sees what the other writes.
func TestFork(t *testing.T) {
	s := open(t, store.Config{})
	put(t, s, "a", "1")
	put(t, s, "b", "1")
	snap := s.Snapshot()
	f, err := s.Fork(snap, store.Config{Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "c", "original")
	put(t, f, "a", "2")
	if _, err := f.Update(t.Context(), func(tx *store.Tx) error {
		tables.ConfigMaps.Delete(tx, object.Key{Namespace: "default", Name: "b"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		r    store.Reader
		want map[string]string
	}{
		"the snapshot": {snap, map[string]string{"a": "1@1", "b": "1@2"}},
		"the original": {s.Snapshot(), map[string]string{"a": "1@1", "b": "1@2", "c": "original@3"}},
		"the fork":     {f.Snapshot(), map[string]string{"a": "2@3"}},
	} {
		if diff := cmp.Diff(c.want, values(c.r)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}
