package tables

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/store"
)

// Services holds the services.
var Services = store.NewTable(store.Spec[*corev1.Service, none]{
	ID:         "services",
	GVK:        corev1.SchemeGroupVersion.WithKind("Service"),
	Prefix:     "/registry/services/specs/",
	Namespaced: true,
	New:        func() *corev1.Service { return &corev1.Service{} },
	Indexes:    map[string]func(*corev1.Service) []string{OwnerIndex: owners[*corev1.Service]},
})
