package tables

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/store"
)

// Secrets holds the secrets.
var Secrets = store.NewTable(store.Spec[*corev1.Secret, none]{
	ID:         "secrets",
	GVK:        corev1.SchemeGroupVersion.WithKind("Secret"),
	Prefix:     "/registry/secrets/",
	Namespaced: true,
	New:        func() *corev1.Secret { return &corev1.Secret{} },
	Indexes:    map[string]func(*corev1.Secret) []string{OwnerIndex: owners[*corev1.Secret]},
})
