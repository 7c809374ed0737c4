package tables

import (
	appsv1 "k8s.io/api/apps/v1"

	"trireme/internal/store"
)

// ReplicaSets holds the replica sets.
var ReplicaSets = store.NewTable(store.Spec[*appsv1.ReplicaSet, none]{
	ID:         "replicasets",
	GVK:        appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
	Prefix:     "/registry/replicasets/",
	Namespaced: true,
	New:        func() *appsv1.ReplicaSet { return &appsv1.ReplicaSet{} },
	Indexes:    map[string]func(*appsv1.ReplicaSet) []string{OwnerIndex: owners[*appsv1.ReplicaSet]},
})
