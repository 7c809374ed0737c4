package view

import (
	"slices"
	"sync"
	"time"

	"trireme/internal/store"
)

// A list that is read in pages shows one moment: its snapshot is kept for a
// while. A snapshot shares what has not changed, so that it costs what was
// written since.
const (
	keptMax = 64
	keptFor = 5 * time.Minute // as long as Kubernetes' etcd keeps revisions
)

// kept are the snapshots of lists that were not read to their end.
type kept struct {
	now func() time.Time

	mu    sync.Mutex
	snaps []keptSnapshot // oldest first
	over  store.Rev      // the newest whose time was over
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
	for i := range k.snaps {
		if k.snaps[i].rev == rev {
			return
		}
	}
	if len(k.snaps) == keptMax {
		k.snaps = append(k.snaps[:0], k.snaps[1:]...)
	}
	k.snaps = append(k.snaps, keptSnapshot{rev, snap, k.now().Add(keptFor)})
}

// ended reports whether the time of a list of that revision is over, so that a
// client learns of it also where nothing was written meanwhile (Kubernetes, "API
// concepts: retrieving large results sets in chunks").
func (k *kept) ended(rev store.Rev) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire()
	return rev <= k.over && !slices.ContainsFunc(k.snaps, func(s keptSnapshot) bool { return s.rev == rev })
}

// at returns the snapshot of the revision, nil where it is not kept (any more).
func (k *kept) at(rev store.Rev) *store.Snapshot {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire()
	for i := range k.snaps {
		if k.snaps[i].rev == rev {
			return k.snaps[i].snap
		}
	}
	return nil
}

func (k *kept) expire() {
	now, n := k.now(), 0
	for n < len(k.snaps) && now.After(k.snaps[n].until) {
		k.over = max(k.over, k.snaps[n].rev)
		n++
	}
	clear(k.snaps[:n]) // the array behind must not hold them
	k.snaps = k.snaps[n:]
}
