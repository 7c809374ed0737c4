package autoscale

import (
	"maps"
	"slices"
	"time"

	"trireme/internal/object"
	"trireme/internal/orchestrate/scale"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of autoscalers.
type Loop struct{}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/autoscale" }

func (l *Loop) Reads() []store.TableID {
	return append(scale.Reads(), tables.HorizontalPodAutoscalers.ID(), tables.PodSamples.ID(), tables.AdapterAnswers.ID(), tables.ScaleHistories.ID(), tables.Pods.ID(),
		tables.Services.ID())
}

func (l *Loop) Writes() []store.TableID {
	return append(scale.Writes(), tables.HorizontalPodAutoscalers.ID(), tables.ScaleHistories.ID(), tables.Events.ID())
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	due := map[object.Key]bool{}
	for key := range tables.HorizontalPodAutoscalers.Changed(tx) {
		due[key] = true
		if _, ok := tables.HorizontalPodAutoscalers.Row(tx, key); !ok {
			tables.ScaleHistories.Delete(tx, key)
		}
	}
	for key := range tables.AdapterAnswers.Changed(tx) {
		due[key] = true
	}
	measured := map[string]bool{} // namespaces
	for key := range tables.PodSamples.Changed(tx) {
		measured[key.Namespace] = true
	}
	for ns := range measured {
		for row := range tables.HorizontalPodAutoscalers.Rows(tx, ns) {
			due[row.Key()] = true
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(due), object.Key.Compare) {
		if h, ok := tables.HorizontalPodAutoscalers.Get(tx, key); ok && h.DeletionTimestamp == nil {
			newScaler(tx, h).run()
		}
	}
	return next, nil
}
