package tables

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/store"
)

// Namespaces holds the namespaces.
var Namespaces = store.NewTable(store.Spec[*corev1.Namespace, none]{
	ID:         "namespaces",
	GVK:        corev1.SchemeGroupVersion.WithKind("Namespace"),
	Prefix:     "/registry/namespaces/",
	Namespaced: false,
	New:        func() *corev1.Namespace { return &corev1.Namespace{} },
	Indexes:    map[string]func(*corev1.Namespace) []string{OwnerIndex: owners[*corev1.Namespace]},
})
