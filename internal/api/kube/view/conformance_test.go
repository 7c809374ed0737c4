package view_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"

	"trireme/internal/api/kube/view"
	"trireme/internal/store"
)

func examples() *store.Table[*example.Pod, struct{}] {
	return store.NewTable(store.Spec[*example.Pod, struct{}]{
		ID: "pods", GVK: example.SchemeGroupVersion.WithKind("Pod"), Prefix: "/registry/pods/",
		New: func() *example.Pod { return &example.Pod{} }, Namespaced: true,
	})
}

// open returns a view of an empty table of the kind that Kubernetes' own
// storage tests use.
func open(t *testing.T) storage.Interface {
	t.Helper()
	table := examples()
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, table)
	if err != nil {
		t.Fatal(err)
	}
	v := view.New(s, table.Any(), "/pods", nil)
	// A store with a log never is at revision 0, which the library refuses.
	increase(v)(t.Context(), t)
	return v
}

func increase(s storage.Interface) storagetesting.IncreaseRVFunc {
	return func(ctx context.Context, t *testing.T) int64 {
		p := &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "increase-rv", Name: uuid.NewString()}}
		key := "/pods/" + p.Namespace + "/" + p.Name
		if err := s.Create(ctx, key, p, &example.Pod{}, 0); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(ctx, key, &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		rev, err := s.GetCurrentResourceVersion(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return int64(rev)
	}
}

// TestConformance runs the tests that Kubernetes keeps for every implementation
// of its storage. Left out: KeySchema, because it stores objects without names, which a table refuses; WatchInitializationSignal, which only
// priority-and-fairness waits for; GetListNonRecursive, which reads exact past
// revisions; NamespaceScopedList, which wants objects without the UID and type
// that a table gives; OptionalWatchBookmarks, which waits 3 s where ours come
// every 30; GuaranteedUpdateWith…Conflict, which renames an object, and a
// row's key is its name; tests of TTLs, transformers, corrupt
// objects and etcd's compaction, which a view does not have.
func TestConformance(t *testing.T) {
	noKey := func(context.Context, *testing.T, string) {}
	noCalls := func(*testing.T, uint64, uint64) {}
	type run = func(ctx context.Context, t *testing.T, s storage.Interface)
	for name, f := range map[string]run{
		"Create": func(ctx context.Context, t *testing.T, s storage.Interface) {
			storagetesting.RunTestCreate(ctx, t, s, noKey)
		},
		"CreateWithKeyExist":                      storagetesting.RunTestCreateWithKeyExist,
		"Get":                                     storagetesting.RunTestGet,
		"UnconditionalDelete":                     storagetesting.RunTestUnconditionalDelete,
		"ConditionalDelete":                       storagetesting.RunTestConditionalDelete,
		"DeleteWithSuggestion":                    storagetesting.RunTestDeleteWithSuggestion,
		"DeleteWithSuggestionAndConflict":         storagetesting.RunTestDeleteWithSuggestionAndConflict,
		"DeleteWithConflict":                      storagetesting.RunTestDeleteWithConflict,
		"DeleteWithSuggestionOfDeletedObject":     storagetesting.RunTestDeleteWithSuggestionOfDeletedObject,
		"ValidateDeletionWithSuggestion":          storagetesting.RunTestValidateDeletionWithSuggestion,
		"ValidateDeletionWithOnlySuggestionValid": storagetesting.RunTestValidateDeletionWithOnlySuggestionValid,
		"PreconditionalDeleteWithSuggestion":      storagetesting.RunTestPreconditionalDeleteWithSuggestion,
		"PreconditionalDeleteWithOnlySuggestion":  storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass,
		"GetListRecursivePrefix":                  storagetesting.RunTestGetListRecursivePrefix,
		"ListContinuation": func(ctx context.Context, t *testing.T, s storage.Interface) {
			storagetesting.RunTestListContinuation(ctx, t, s, noCalls)
		},
		"ListPaginationRareObject": func(ctx context.Context, t *testing.T, s storage.Interface) {
			storagetesting.RunTestListPaginationRareObject(ctx, t, s, noCalls)
		},
		"ListContinuationWithFilter": func(ctx context.Context, t *testing.T, s storage.Interface) {
			storagetesting.RunTestListContinuationWithFilter(ctx, t, s, noCalls)
		},
		"ListPaging":                         storagetesting.RunTestListPaging,
		"WatcherTimeout":                     storagetesting.RunTestWatcherTimeout,
		"Watch":                              storagetesting.RunTestWatch,
		"DeleteTriggerWatch":                 storagetesting.RunTestDeleteTriggerWatch,
		"WatchFromNonZero":                   storagetesting.RunTestWatchFromNonZero,
		"DelayedWatchDelivery":               storagetesting.RunTestDelayedWatchDelivery,
		"WatchContextCancel":                 storagetesting.RunTestWatchContextCancel,
		"WatchDeleteEventObjectHaveLatestRV": storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV,
		"ClusterScopedWatch":                 storagetesting.RunTestClusterScopedWatch,
		"NamespaceScopedWatch":               storagetesting.RunTestNamespaceScopedWatch,
	} {
		t.Run(name, func(t *testing.T) { f(t.Context(), t, open(t)) })
	}
}
