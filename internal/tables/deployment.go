package tables

import (
	appsv1 "k8s.io/api/apps/v1"

	"trireme/internal/store"
)

// Deployments holds the deployments.
var Deployments = store.NewTable(store.Spec[*appsv1.Deployment, none]{
	ID:         "deployments",
	GVK:        appsv1.SchemeGroupVersion.WithKind("Deployment"),
	Prefix:     "/registry/deployments/",
	Namespaced: true,
	New:        func() *appsv1.Deployment { return &appsv1.Deployment{} },
	Indexes:    map[string]func(*appsv1.Deployment) []string{OwnerIndex: owners[*appsv1.Deployment]},
})
