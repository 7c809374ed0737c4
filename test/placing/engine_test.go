package placing_test

import (
	"fmt"
	"testing"

	"trireme/test/placing"
)

func BenchmarkEngine(b *testing.B) {
	for _, c := range placing.Cases() {
		b.Run(c.Name, func(b *testing.B) { measure(b, c) })
	}
}

// BenchmarkSlope says how the cost grows with the nodes.
func BenchmarkSlope(b *testing.B) {
	for _, nodes := range []int{100, 1000, 10_000, 50_000} {
		for _, distinct := range []bool{false, true} {
			b.Run(fmt.Sprintf("nodes=%d/distinct=%v", nodes, distinct), func(b *testing.B) { measure(b, placing.Slope(nodes, distinct)) })
		}
	}
}

func measure(b *testing.B, c placing.Case) {
	var placed int
	var seconds, cpu float64
	for b.Loop() {
		r, err := placing.Run(c)
		if err != nil {
			b.Fatal(err)
		}
		placed, seconds, cpu = placed+r.Placed, seconds+r.Seconds, cpu+r.CPUSeconds
	}
	b.ReportMetric(float64(placed)/seconds, "pods/s")
	b.ReportMetric(float64(placed)/cpu, "pods/cpu-s")
	b.ReportMetric(0, "ns/op")
}

// TestRun runs a small one of each kind.
func TestRun(t *testing.T) {
	for _, c := range append(placing.Cases(), placing.Slope(100, true)) {
		c.Nodes, c.Held, c.Pods = 200, min(c.Held, 100), 100
		r, err := placing.Run(c)
		if err != nil || r.Placed != c.Pods {
			t.Errorf("%s: %d placed, %v", c.Name, r.Placed, err)
		}
	}
	if r, err := placing.Preempt(t.Context(), 20, 20); err != nil || r.Victims != 60 {
		t.Errorf("20 pods have %d victims, want 3 each: %v", r.Victims, err)
	}
}

// TestCompaction: pods that ask for room alone need no more nodes when they are packed than when they are spread; whatever they ask, no cell
// is smaller than its pods, and none needs all nodes.
func TestCompaction(t *testing.T) {
	for _, plain := range []bool{true, false} {
		results, err := placing.Compaction{Seed: 4, Nodes: 60, Trials: 3, Plain: plain}.Run(t.Context(), placing.Strategies())
		if err != nil {
			t.Fatal(err)
		}
		sum := map[string]float64{}
		for i, r := range results {
			name := placing.StrategyNames[i]
			for _, p := range r.Percent {
				sum[name] += p
			}
			t.Logf("plain %v, %s: %v %% of the nodes for %d pods, %.1f s", plain, name, r.Percent, r.Pods, r.Seconds)
			if sum[name] < 3*55 || sum[name] >= 3*100 {
				t.Errorf("plain %v, %s: three trials need %.0f %% together", plain, name, sum[name])
			}
		}
		if plain && (sum["most"] > sum["least"] || sum["ratio"] > sum["least"]) {
			t.Errorf("packing needs more than spreading: %v", sum)
		}
	}
}

// TestCrowd: pods get their places beside pods that fit nowhere.
func TestCrowd(t *testing.T) {
	r, err := placing.Crowd{Nodes: 250, Misfits: 1000, Kinds: 100, Rounds: 2}.Run(t.Context())
	if err != nil || r.Placed != 1000 {
		t.Errorf("%d placed: %v", r.Placed, err)
	}
}
