package tables

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/store"
)

// Events holds the events. They live in memory: losing them with a manager costs nothing,
// and they cost no consensus write. They are many and seldom read: they lie encoded. The
// head is when an event was last seen.
var Events = store.NewTable(store.Spec[*corev1.Event, time.Time]{
	ID:         "events",
	GVK:        corev1.SchemeGroupVersion.WithKind("Event"),
	Prefix:     "/registry/events/",
	Namespaced: true,
	Volatile:   true,
	Cold:       true,
	New:        func() *corev1.Event { return &corev1.Event{} },
	Head:       lastSeen,
	Indexes:    map[string]func(*corev1.Event) []string{OwnerIndex: owners[*corev1.Event]},
})

func lastSeen(e *corev1.Event) time.Time {
	last := e.LastTimestamp.Time
	if e.Series != nil && e.Series.LastObservedTime.After(last) {
		last = e.Series.LastObservedTime.Time
	}
	if last.IsZero() {
		last = e.CreationTimestamp.Time
	}
	return last
}
