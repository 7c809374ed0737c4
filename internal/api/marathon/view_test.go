package marathon

import (
	"testing"
	"time"
)

// TestLifeTime: the median is the middle one, or between the middle two.
func TestLifeTime(t *testing.T) {
	for _, tt := range []struct {
		lives           []time.Duration
		average, median float64
	}{
		{[]time.Duration{3 * time.Second}, 3, 3},
		{[]time.Duration{9 * time.Second, time.Second, 2 * time.Second}, 4, 2},
		{[]time.Duration{9 * time.Second, time.Second, 2 * time.Second, 4 * time.Second}, 4, 3},
	} {
		if got := lifeTime(tt.lives); got["averageSeconds"] != tt.average || got["medianSeconds"] != tt.median {
			t.Errorf("of %v: %v", tt.lives, got)
		}
	}
}

// TestTally: what has not come to run yet is staged, and each result of a check counts.
func TestTally(t *testing.T) {
	n := tally{}
	for _, one := range []task{
		{State: "TASK_STAGING"}, {State: "TASK_STARTING"}, {State: "TASK_KILLING"},
		{State: "TASK_RUNNING", HealthCheckResults: []healthResult{{Alive: true}, {}}},
	} {
		n.add(&one)
	}
	if want := (tally{Staged: 2, Running: 1, Healthy: 1, Unhealthy: 1}); n != want {
		t.Errorf("%+v, want %+v", n, want)
	}
}
