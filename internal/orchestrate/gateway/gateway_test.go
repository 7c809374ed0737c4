package gateway_test

import (
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/gateway"
	"trireme/internal/tables"
)

func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.Samples()...), func() []loop.Reconciler {
		return []loop.Reconciler{gateway.New(func(port int32) bool { return port == 6443 })}
	})
}
