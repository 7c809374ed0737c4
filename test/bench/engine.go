package main

import (
	"context"
	"fmt"
	"runtime"

	"trireme/test/placing"
)

// engineCase measures a workload of the scheduler's engine alone.
func engineCase(c placing.Case) func(context.Context, *config) ([]line, error) {
	return func(context.Context, *config) ([]line, error) {
		l, err := engineLine(c)
		return []line{l}, err
	}
}

func engineLine(c placing.Case) (line, error) {
	r, err := placing.Run(c)
	if err != nil {
		return line{}, err
	}
	return line{c.Name, float64(r.Placed) / r.Seconds, "pods/s", map[string]any{
		"nodes": c.Nodes, "held": c.Held, "pods": r.Placed, "seconds": r.Seconds, "cpu_s": r.CPUSeconds, "peak_rss_mb": float64(r.PeakBytes) / (1 << 20),
		"per_cpu_s": float64(r.Placed) / r.CPUSeconds, "cpus": runtime.NumCPU(),
	}}, nil
}

// engineSlope measures how the engine's cost grows with the nodes: pods alike, and no two alike.
func engineSlope(context.Context, *config) (lines []line, err error) {
	for _, nodes := range []int{100, 1000, 10_000, 50_000} {
		for _, distinct := range []bool{false, true} {
			l, err := engineLine(placing.Slope(nodes, distinct))
			if err != nil {
				return lines, fmt.Errorf("%d nodes: %w", nodes, err)
			}
			l.Detail["distinct"] = distinct
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// preemption measures how fast room is made in a full cluster.
func preemption(ctx context.Context, _ *config) ([]line, error) {
	const nodes, pods = 5000, 5000
	r, err := placing.Preempt(ctx, nodes, pods)
	if err != nil {
		return nil, err
	}
	return []line{{"preemption_per_s", float64(r.Placed) / r.Seconds, "pods/s", map[string]any{
		"nodes": nodes, "held": 4 * nodes, "pods": r.Placed, "victims": r.Victims, "seconds": r.Seconds, "cpu_s": r.CPUSeconds,
		"peak_rss_mb": float64(r.PeakBytes) / (1 << 20), "per_cpu_s": float64(r.Placed) / r.CPUSeconds, "cpus": runtime.NumCPU(),
	}}}, nil
}
