package view

import (
	"testing"
	"testing/synctest"
	"time"

	"trireme/internal/store"
)

// TestKept: snapshots are found by revision, bounded in number and in what they cost,
// and forgotten in time, whether somebody asks or not.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var head store.Rev
		k := kept{head: func() store.Rev { return head }}
		for head = range store.Rev(keptMax + 10) {
			k.keep(head, &store.Snapshot{})
			k.keep(head, &store.Snapshot{})
		}
		if len(k.snaps) != keptMax {
			t.Errorf("%d are kept", len(k.snaps))
		}
		if k.at(9) != nil || k.at(10) == nil {
			t.Error("the oldest should have gone, and no more")
		}
		head = 20 + keptWrites
		if k.at(19) != nil || k.at(20) == nil {
			t.Error("what has many writes after it should have gone, and no more")
		}
		if k.ended(19) {
			t.Error("what is unchanged since can be listed on")
		}
		time.Sleep(keptFor + keptLook + time.Second)
		synctest.Wait()
		if len(k.snaps) != 0 {
			t.Errorf("%d are kept past their time", len(k.snaps))
		}
		if !k.ended(keptMax) || k.ended(head) {
			t.Error("a list whose time is over, or one that was never kept")
		}
		k.keep(head, &store.Snapshot{})
		if k.ended(head) {
			t.Error("a list that was kept just now")
		}
		time.Sleep(keptFor + keptLook + time.Second)
		synctest.Wait()
		if k.looking {
			t.Error("it looks though nothing is kept")
		}
	})
}
