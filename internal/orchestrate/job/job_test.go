package job_test

import (
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/job"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/tables"
)

func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.Samples()...), func() []loop.Reconciler {
		return []loop.Reconciler{job.New(sow.Rules{})}
	})
}
