package tables

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/store"
)

// ServiceAccounts holds the service accounts.
var ServiceAccounts = store.NewTable(store.Spec[*corev1.ServiceAccount, none]{
	ID:         "serviceaccounts",
	GVK:        corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
	Prefix:     "/registry/serviceaccounts/",
	Namespaced: true,
	New:        func() *corev1.ServiceAccount { return &corev1.ServiceAccount{} },
	Indexes:    map[string]func(*corev1.ServiceAccount) []string{OwnerIndex: owners[*corev1.ServiceAccount]},
})
