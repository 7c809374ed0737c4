package view

import (
	"slices"
	"sync"
	"time"

	"trireme/internal/store"
)

// A list that is read in pages shows one moment: its snapshot is kept for a
// while. A snapshot shares what has not changed, so that it costs what was
// written since: that is bounded too, or who asks for single pages in a busy time
// would make the store keep every version of every row.
const (
	keptMax    = 64
	keptFor    = 5 * time.Minute // as long as Kubernetes' etcd keeps revisions
	keptWrites = 1 << 15         // of all tables: twice a table's history
	keptLook   = 5 * time.Second
)

// kept are the snapshots of lists that were not read to their end.
type kept struct {
	head func() store.Rev // the table's newest revision

	mu      sync.Mutex
	snaps   []keptSnapshot // oldest first
	over    store.Rev      // the newest whose time was over
	looking bool           // a look is due
}

type keptSnapshot struct {
	rev   store.Rev
	snap  *store.Snapshot
	until time.Time
}

// keep holds the snapshot that a list of that revision reads.
func (k *kept) keep(rev store.Rev, snap *store.Snapshot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire()
	if k.find(rev) >= 0 {
		return
	}
	if len(k.snaps) == keptMax {
		k.snaps = slices.Delete(k.snaps, 0, 1)
	}
	k.snaps = append(k.snaps, keptSnapshot{rev, snap, time.Now().Add(keptFor)})
	k.lookAgain()
}

// lookAgain lets snapshots go whose time is over though nobody lists any more.
func (k *kept) lookAgain() {
	if k.looking {
		return
	}
	k.looking = true
	time.AfterFunc(keptLook, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.looking = false
		if k.expire(); len(k.snaps) > 0 {
			k.lookAgain()
		}
	})
}

// ended reports whether the time of a list of that revision is over, so that a
// client learns of it also where nothing was written meanwhile (Kubernetes, "API
// concepts: retrieving large results sets in chunks").
func (k *kept) ended(rev store.Rev) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire()
	return rev <= k.over && k.find(rev) < 0
}

// at returns the snapshot of the revision, nil where it is not kept (any more).
func (k *kept) at(rev store.Rev) *store.Snapshot {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire()
	if i := k.find(rev); i >= 0 {
		return k.snaps[i].snap
	}
	return nil
}

func (k *kept) find(rev store.Rev) int {
	return slices.IndexFunc(k.snaps, func(s keptSnapshot) bool { return s.rev == rev })
}

func (k *kept) expire() {
	now, head, n := time.Now(), k.head(), 0
	for ; n < len(k.snaps); n++ {
		if now.After(k.snaps[n].until) {
			k.over = max(k.over, k.snaps[n].rev)
		} else if head-k.snaps[n].rev <= keptWrites {
			break
		}
	}
	k.snaps = slices.Delete(k.snaps, 0, n) // which clears what is behind
}
