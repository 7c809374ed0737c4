package floatingip_test

import (
	"net/netip"
	"testing"

	"trireme/internal/allocate"
	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/floatingip"
	"trireme/internal/tables"
)

// The scripts run beside the loops that give addresses: what is shown is what a user sees.
func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.NetworkMembers.Any()), func() []loop.Reconciler {
		a := allocate.New(allocate.Config{
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.128.0.0/10")}, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
			NodePortMin: 30000, NodePortMax: 30010,
		})
		return append([]loop.Reconciler{floatingip.New()}, a.Loops()...)
	})
}
