package engine

import (
	"context"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/api/docker/bare"
	"trireme/internal/api/docker/execs"
	"trireme/internal/api/docker/happen"
	"trireme/internal/api/docker/stream"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// live is what this manager keeps in its memory for its own clients.
type live struct {
	execs    *execs.Store
	attached *stream.Attachments
	told     *happen.Hub
	later    chan func(context.Context) // what goes on after its request
	loose    chan string                // ids of containers that nobody reads of any more
	reviving *sync.Map                  // ids of containers between two pods

	summariesMu *sync.Mutex
	summaries   map[asked]summary
}

func newLive() live {
	l := live{
		execs: &execs.Store{}, told: happen.NewHub(),
		later: make(chan func(context.Context)), loose: make(chan string, 64), reviving: &sync.Map{}, summariesMu: &sync.Mutex{}, summaries: map[asked]summary{},
	}
	l.attached = stream.NewAttachments(func(id string) {
		select {
		case l.loose <- id:
		default: // all are looked at after every change
		}
	})
	return l
}

func itoa(n int) string { return strconv.Itoa(n) }

// background has f go on when the request has been answered, until the door closes.
func (s *Server) background(ctx context.Context, f func(context.Context)) error {
	select {
	case s.later <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run does what goes on beside requests, until ctx ends.
func (s *Server) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { s.sweep(ctx) })
	for _, t := range told {
		all.Go(func() { s.tellOf(ctx, t) })
	}
	for {
		select {
		case f := <-s.later:
			all.Go(func() { f(ctx) })
		case <-ctx.Done():
			return
		}
	}
}

// sweep removes containers that were to go with their end (--rm), once nobody who is
// attached reads of them.
func (s *Server) sweep(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		for {
			select {
			case <-s.loose:
				for row := range tables.Pods.Rows(s.store.Snapshot(), "") {
					s.sweepOne(ctx, row)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	_ = s.store.Follow(ctx, tables.Pods.Any(), func(key object.Key) error { // until ctx ends
		if row, ok := tables.Pods.Row(s.store.Snapshot(), key); ok {
			s.sweepOne(ctx, row)
		}
		return nil
	})
}

func (s *Server) sweepOne(ctx context.Context, row store.Row[*corev1.Pod, *tables.PodHead]) {
	h := row.Head()
	if h.Labels[bare.Label] != bare.Remove || !h.Ended() || h.Deleting || s.attached.Read(row.Object().Annotations[bare.IDAnnotation]) {
		return
	}
	key := row.Key()
	err := s.typed.CoreV1().Pods(key.Namespace).Delete(ctx, key.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(h.UID))})
	if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		s.log.Warn("removing a container that has ended", "object", key.String(), "err", err)
	}
}
