package view

import (
	"testing"
	"time"

	"trireme/internal/store"
)

// TestKept: snapshots are found by revision, bounded in number, and forgotten in
// time.
func TestKept(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	k := kept{now: func() time.Time { return now }}
	for rev := range store.Rev(keptMax + 10) {
		k.keep(rev, &store.Snapshot{})
		k.keep(rev, &store.Snapshot{})
	}
	if len(k.snaps) != keptMax {
		t.Errorf("%d are kept", len(k.snaps))
	}
	if k.at(9) != nil || k.at(10) == nil {
		t.Error("the oldest should have gone, and no more")
	}
	now = now.Add(keptFor + time.Second)
	if k.at(keptMax) != nil || len(k.snaps) != 0 {
		t.Errorf("%d are kept past their time", len(k.snaps))
	}
	if !k.ended(keptMax) || k.ended(keptMax+20) {
		t.Error("a list whose time is over, or one that was never kept")
	}
	k.keep(keptMax, &store.Snapshot{})
	if k.ended(keptMax) {
		t.Error("a list that began anew at the same revision")
	}
}
