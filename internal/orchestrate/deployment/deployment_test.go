package deployment_test

import (
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/deployment"
	"trireme/internal/orchestrate/replicaset"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/policy"
	"trireme/internal/tables"
)

// The scripts run with the loop of replica sets, which carries out the sizes.
func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.Samples()...), func() []loop.Reconciler {
		return []loop.Reconciler{deployment.New(), replicaset.New(sow.Rules{Allow: policy.Allow})}
	})
}
