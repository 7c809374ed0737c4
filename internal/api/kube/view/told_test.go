package view_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"

	"trireme/internal/api/kube/view"
	"trireme/internal/store"
)

// heldLog commits nothing until it is let go.
type heldLog struct{ gate chan struct{} }

func (*heldLog) Load(context.Context) (*store.Contents, error) { return &store.Contents{Rev: 1}, nil }

func (l *heldLog) Append(ctx context.Context, _ []store.Entry) error {
	select {
	case <-l.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestNotFoundIsCommitted: who is told that an object has gone, or is there, does
// not find the contrary with the next request.
func TestNotFoundIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := examples()
		log := &heldLog{make(chan struct{})}
		s, err := store.Open(t.Context(), store.Config{Log: log, Now: time.Now, NewID: func() types.UID { return "u" }}, table.Any())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = s.Run(ctx) }() // it ends with the test
		defer synctest.Wait()
		defer cancel()
		v := view.New(s, table.Any(), "/pods", nil)
		const key = "/pods/ns/a"
		create := func() error {
			return v.Create(ctx, key, &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}, &example.Pod{}, 0)
		}
		remove := func() error {
			return v.Delete(ctx, key, &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
		}
		get := func() error { return v.Get(ctx, key, storage.GetOptions{}, &example.Pod{}) }

		// two runs f twice while nothing is committed: the second finds on the head state
		// what the first has done. It returns what the second said and, right after it, get.
		two := func(f func() error) (said, found error) {
			first, second := make(chan error, 1), make(chan error, 1)
			go func() { first <- f() }()
			synctest.Wait()
			go func() { second <- f(); second <- get() }()
			synctest.Wait()
			if len(second) > 0 {
				t.Error("the second was answered before the first was committed")
			}
			log.gate <- struct{}{}
			if err := <-first; err != nil {
				t.Errorf("the first: %v", err)
			}
			return <-second, <-second
		}
		if said, found := two(create); !storage.IsExist(said) || found != nil {
			t.Errorf("a second creation: %v, and then %v", said, found)
		}
		if said, found := two(remove); !storage.IsNotFound(said) || !storage.IsNotFound(found) {
			t.Errorf("a second deletion: %v, and then %v", said, found)
		}
	})
}

// TestClosedStore: a store that ends answers with a status; what has none, the
// library logs as a defect, after everything else that a process says.
func TestClosedStore(t *testing.T) {
	table := examples()
	log := &heldLog{make(chan struct{}, 1)}
	s, err := store.Open(t.Context(), store.Config{Log: log, Now: time.Now, NewID: func() types.UID { return "u" }}, table.Any())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Run(ctx) // it ends with the context's error
	v := view.New(s, table.Any(), "/pods", nil)
	pod := &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}
	if err := v.Create(t.Context(), "/pods/ns/a", pod, &example.Pod{}, 0); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("creating in a closed store: %v", err)
	}
}
