package server

import (
	"testing"

	"trireme/internal/loop"
	"trireme/internal/offer"
)

// TestAllocatorMetrics: the loop that makes offers is what Mesos calls the allocator.
func TestAllocatorMetrics(t *testing.T) {
	loops := []loop.Stat{{Name: "other", Steps: 9, Seconds: 9}, {Name: offer.NewLoop(offer.LoopConfig{}).Name(), Steps: 4, Seconds: 0.01}}
	m := allocatorMetrics(loops)
	if m["allocator/mesos/allocation_runs"] != 4 || m["allocator/mesos/allocation_run_ms"] != 2.5 {
		t.Errorf("%v", m)
	}
	if m := allocatorMetrics(nil); m["allocator/mesos/allocation_runs"] != 0 || len(m) != 2 {
		t.Errorf("before it has stepped: %v", m)
	}
}
