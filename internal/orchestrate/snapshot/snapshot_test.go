package snapshot_test

import (
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/snapshot"
	"trireme/internal/orchestrate/volume"
	"trireme/internal/tables"
)

// The scripts run beside the loops that make volumes: what is shown is what a user sees.
func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", tables.All(), func() []loop.Reconciler {
		return []loop.Reconciler{snapshot.New(), volume.NewBinder(), volume.NewLocal(), volume.NewProtector()}
	})
}
