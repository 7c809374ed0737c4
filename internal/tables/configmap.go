package tables

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/store"
)

// ConfigMaps holds the config maps.
var ConfigMaps = store.NewTable(store.Spec[*corev1.ConfigMap, none]{
	ID:         "configmaps",
	GVK:        corev1.SchemeGroupVersion.WithKind("ConfigMap"),
	Prefix:     "/registry/configmaps/",
	Namespaced: true,
	New:        func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
	Indexes:    map[string]func(*corev1.ConfigMap) []string{OwnerIndex: owners[*corev1.ConfigMap]},
})
