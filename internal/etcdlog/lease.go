package etcdlog

import (
	"context"
	"sync/atomic"
	"time"
)

// Who leads hears from more than half of the members, or leads no more; but one that was stopped
// for a while (SIGSTOP, a suspended machine) thinks for a moment after it is woken that it still
// does. So what it says counts for as long as nobody else can have been chosen since it was last
// sure: for less than the shortest time after which any member gives a leader up, of which a tick
// may have passed already.
const (
	leaseLife  = (electionAlone - 100) * time.Millisecond
	leaseEvery = leaseLife / 4
)

// lease is until when this member is known to lead.
type lease struct {
	alone atomic.Bool // there is no other member
	until atomic.Pointer[time.Time]
}

func (l *lease) end() { l.until.Store(nil) }

func (l *lease) held() bool {
	if l.alone.Load() {
		return true
	}
	t := l.until.Load()
	return t != nil && time.Now().Before(*t)
}

// Leads reports whether this member leads at this moment, and waits until it knows; false once over
// is closed. Call it while KeepLease runs.
func (l *Log) Leads(over <-chan struct{}) bool {
	if l.lease.held() {
		return true
	}
	tick := time.NewTicker(leaseEvery / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if l.lease.held() {
				return true
			}
		case <-over:
			return false
		}
	}
}

// KeepLease finds out again and again, until ctx ends, whether this member leads. A member that is
// alone always does.
func (l *Log) KeepLease(ctx context.Context) error {
	tick := time.NewTicker(leaseEvery)
	defer tick.Stop()
	defer l.lease.end()
	for {
		l.renewLease(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *Log) renewLease(ctx context.Context) {
	if l.lease.alone.Store(len(l.server.Cluster().Members()) == 1); l.lease.alone.Load() {
		return
	}
	began, term := time.Now(), l.server.Term()
	if l.server.Leader() != l.server.MemberID() {
		l.lease.end()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaseLife)
	defer cancel()
	// It asks all members whether they still follow the leader of the term.
	if err := l.server.LinearizableReadNotify(ctx); err != nil {
		return
	}
	if l.server.Leader() != l.server.MemberID() || l.server.Term() != term {
		l.lease.end()
		return
	}
	until := began.Add(leaseLife)
	l.lease.until.Store(&until)
}
