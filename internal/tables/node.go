package tables

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/store"
)

// Nodes holds the nodes.
var Nodes = store.NewTable(store.Spec[*corev1.Node, none]{
	ID:         "nodes",
	GVK:        corev1.SchemeGroupVersion.WithKind("Node"),
	Prefix:     "/registry/minions/",
	Namespaced: false,
	New:        func() *corev1.Node { return &corev1.Node{} },
	Indexes:    map[string]func(*corev1.Node) []string{OwnerIndex: owners[*corev1.Node]},
})
