package orchestrate_test

import (
	"path/filepath"
	"testing"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/policy"
	"trireme/internal/tables"
)

func loops() []loop.Reconciler {
	return orchestrate.Loops(orchestrate.Config{CAPEM: []byte("PEM"), Pods: sow.Rules{Fill: policy.Fill, Allow: policy.Allow}})
}

// TestScripts plays all loops together.
func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.Samples()...), loops)
}

// TestTogether plays every script of every loop with all loops at once: none may
// keep another from coming to rest.
func TestTogether(t *testing.T) {
	paths, err := filepath.Glob("*/testdata/*.txtar")
	if err != nil || len(paths) < 10 {
		t.Fatalf("found the scripts %v (%v)", paths, err)
	}
	for _, path := range paths {
		t.Run(path, func(t *testing.T) { looptest.CheckFile(t, path, append(tables.All(), tables.Samples()...), loops) })
	}
}
