package marathon_test

import (
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/marathon"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/tables"
)

func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.Refusals.Any()), func() []loop.Reconciler {
		return []loop.Reconciler{marathon.NewDeployments(), marathon.NewApps(sow.Rules{})}
	})
}
