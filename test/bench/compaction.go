package main

import (
	"context"
	"fmt"
	"runtime"

	"trireme/test/placing"
)

// compaction measures how small a cell may get before a workload does not fit any more, for each strategy, with all that pods ask and with room alone (plain):
// the median of the trials, and what nine of ten of them needed at most, in percent of the cell.
func compaction(ctx context.Context, _ *config) ([]line, error) {
	c := placing.Compaction{Seed: 20261128, Nodes: 200, Trials: 11}
	l := line{"compaction_pct", 0, "%", map[string]any{"nodes": c.Nodes, "trials": c.Trials, "seed": c.Seed, "cpus": runtime.NumCPU()}}
	for _, kind := range []string{"", "plain_"} {
		c.Plain = kind != ""
		results, err := c.Run(ctx, placing.Strategies())
		if err != nil {
			return nil, err
		}
		for i, r := range results {
			name := kind + placing.StrategyNames[i]
			l.Detail[name+"_p90"], l.Detail[name+"_p50"], l.Detail[name+"_seconds"] = r.At(0.9), r.At(0.5), r.Seconds
			l.Detail[name+"_range"] = fmt.Sprintf("%.1f-%.1f", r.Percent[0], r.Percent[len(r.Percent)-1])
		}
		l.Detail["pods"] = results[0].Pods
		if !c.Plain {
			l.Value = results[0].At(0.9)
		}
	}
	return []line{l}, nil
}

// misfitsRatio compares how fast pods are placed beside 100,000 that fit nowhere with how fast without, taking turns.
func misfitsRatio(ctx context.Context, _ *config) ([]line, error) {
	const kinds = 10_000
	beside := placing.Crowd{Nodes: 1000, Misfits: 100_000, Kinds: kinds, Rounds: 8}
	alone := beside
	alone.Misfits = 0
	var sums [2]placing.Result
	for range 3 {
		for i, crowd := range []placing.Crowd{alone, beside} {
			r, err := crowd.Run(ctx)
			if err != nil {
				return nil, err
			}
			sum := &sums[i]
			sum.Placed, sum.Seconds, sum.CPUSeconds, sum.PeakBytes = sum.Placed+r.Placed, sum.Seconds+r.Seconds, sum.CPUSeconds+r.CPUSeconds, r.PeakBytes
		}
	}
	a, b := &sums[0], &sums[1]
	rate, without := float64(b.Placed)/b.Seconds, float64(a.Placed)/a.Seconds
	return []line{{"engine_misfits_ratio", rate / without, "", map[string]any{
		"nodes": beside.Nodes, "misfits": beside.Misfits, "kinds": kinds, "pods": b.Placed, "per_s": rate, "per_s_without": without,
		"cpu_ratio": a.CPUSeconds / b.CPUSeconds, "seconds": b.Seconds, "peak_rss_mb": float64(b.PeakBytes) / (1 << 20), "cpus": runtime.NumCPU(),
	}}}, nil
}
