package rebalance_test

import (
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/rebalance"
	"trireme/internal/tables"
)

func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", tables.All(), func() []loop.Reconciler { return []loop.Reconciler{rebalance.New()} })
}
