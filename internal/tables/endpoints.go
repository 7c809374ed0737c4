package tables

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/store"
)

// Endpoints holds the endpoints of services, in the old form.
var Endpoints = store.NewTable(store.Spec[*corev1.Endpoints, none]{
	ID:         "endpoints",
	GVK:        corev1.SchemeGroupVersion.WithKind("Endpoints"),
	Prefix:     "/registry/services/endpoints/",
	Namespaced: true,
	New:        func() *corev1.Endpoints { return &corev1.Endpoints{} },
	Indexes:    map[string]func(*corev1.Endpoints) []string{OwnerIndex: owners[*corev1.Endpoints]},
})
