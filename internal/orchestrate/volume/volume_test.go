package volume_test

import (
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/volume"
	"trireme/internal/tables"
)

func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", tables.All(), func() []loop.Reconciler {
		return []loop.Reconciler{volume.NewEphemeral(), volume.NewBinder(), volume.NewLocal(), volume.NewNamed(), volume.NewProtector(), volume.NewAttacher()}
	})
}
