package daemonset_test

import (
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/daemonset"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/schedule"
	"trireme/internal/tables"
)

// The scripts run with the scheduler, which binds each pod to the node it names.
func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.Samples()...), func() []loop.Reconciler {
		return []loop.Reconciler{daemonset.New(sow.Rules{}), schedule.New(schedule.Config{})}
	})
}
