package tables

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/store"
)

// Events holds the events. They live in memory: losing them with a manager costs nothing,
// and they cost no consensus write.
var Events = store.NewTable(store.Spec[*corev1.Event, none]{
	ID:         "events",
	GVK:        corev1.SchemeGroupVersion.WithKind("Event"),
	Prefix:     "/registry/events/",
	Namespaced: true,
	Volatile:   true,
	New:        func() *corev1.Event { return &corev1.Event{} },
	Indexes:    map[string]func(*corev1.Event) []string{OwnerIndex: owners[*corev1.Event]},
})
