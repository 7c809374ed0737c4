package review

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Admission is what every creation of a pod from outside passes.
type Admission interface {
	// Review returns what admission makes of a pod that the account of kube-system
	// creates, or why it may not be. kind.Unavailable: nobody could be asked yet. The
	// pod is the callee's.
	Review(ctx context.Context, pod *corev1.Pod, account string) (*corev1.Pod, error)
}

const (
	placesMax   = 256 // reviews at a time
	perOwnerMax = 32  // of them of one owner's pods
	slow        = time.Second
	// askFor bounds one review; each webhook has a time of its own, 30 s at most.
	askFor = 90 * time.Second
	// pause is when a review is tried again that came to nothing.
	pause = 100 * time.Millisecond
)

// Reviewer shows pods under review to admission.
type Reviewer struct {
	store *store.Store
	admit Admission

	done    chan result
	flying  map[object.Key]bool
	owners  map[types.UID]*owner // those whose pods are under review
	rev     store.Rev            // of the hooks that were last seen
	retryAt time.Time            // when reviews that came to nothing are tried again
}

// owner is what is known of the owner of pods under review.
type owner struct {
	flying int
	window int // how many may fly
}

// result is how a review ended.
type result struct {
	key   object.Key
	owner types.UID
	quick bool // and well
	again bool // it came to nothing
}

// New returns a Reviewer over a store.
func New(s *store.Store, a Admission) *Reviewer {
	return &Reviewer{
		store: s, admit: a, done: make(chan result, placesMax), flying: map[object.Key]bool{}, owners: map[types.UID]*owner{},
	}
}

// Run reviews until ctx ends, and returns when all reviews have ended.
func (r *Reviewer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.run(ctx, g) })
	return g.Wait()
}

func (r *Reviewer) run(ctx context.Context, g *errgroup.Group) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		snap := r.store.Snapshot()
		if err := r.forgive(ctx, snap); err != nil {
			return err
		}
		if next := r.start(ctx, snap, g); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-snap.Next():
		case <-timer.C:
		case res := <-r.done:
			r.landed(res)
		case <-r.store.Dead():
			return kind.New(kind.Unavailable, "reviewing pods: the store is closed")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// start starts what reviews there is room for, and returns when to look again if
// nothing happens before; zero: never.
func (r *Reviewer) start(ctx context.Context, snap *store.Snapshot, g *errgroup.Group) (next time.Time) {
	now := time.Now()
	waiting := map[types.UID]bool{}
	for row := range tables.Pods.By(snap, tables.PodsUnderReview, "true") {
		h, key := row.Head(), row.Key()
		waiting[h.Owner] = true
		if r.flying[key] {
			continue
		}
		at := r.until(snap, key.Namespace, h.Owner)
		if r.retryAt.After(at) {
			at = r.retryAt
		}
		if at.After(now) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			continue
		}
		o := r.owners[h.Owner]
		if o == nil {
			o = &owner{window: 1}
			r.owners[h.Owner] = o
		}
		if o.flying >= o.window || len(r.flying) >= placesMax {
			continue
		}
		o.flying++
		r.flying[key] = true
		g.Go(func() error {
			r.done <- r.one(ctx, row)
			return nil
		})
	}
	for uid, o := range r.owners {
		if o.flying == 0 && !waiting[uid] {
			delete(r.owners, uid)
		}
	}
	return next
}

// until returns before when no pod of the owner is shown.
func (r *Reviewer) until(snap *store.Snapshot, namespace string, owner types.UID) time.Time {
	no, ok := tables.Refusals.Get(snap, object.Key{Namespace: namespace, Name: string(owner)})
	if !ok {
		return time.Time{}
	}
	return no.Until.Time
}

func (r *Reviewer) landed(res result) {
	delete(r.flying, res.key)
	if res.again {
		r.retryAt = time.Now().Add(pause)
	}
	o := r.owners[res.owner]
	if o == nil {
		return
	}
	o.flying--
	o.window = 1
	if res.quick {
		o.window = min(2*(o.flying+1), perOwnerMax)
	}
}

// forgive forgets what was refused when webhooks or policies have changed.
func (r *Reviewer) forgive(ctx context.Context, snap *store.Snapshot) error {
	rev := policy.HooksRev(snap)
	if rev == r.rev {
		return nil
	}
	r.rev = rev
	if tables.Refusals.Len(snap) == 0 {
		return nil
	}
	_, err := r.store.Update(ctx, func(tx *store.Tx) error {
		for row := range tables.Refusals.Rows(tx, "") {
			tables.Refusals.Delete(tx, row.Key())
		}
		return nil
	})
	return err
}
