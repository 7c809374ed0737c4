package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"trireme/test/cluster"
	"trireme/test/failover"
)

// idleFor is how long a process is left alone before its memory is read.
const idleFor = 15 * time.Second

// ready measures the time from the start of the process to the first answered
// `kubectl get nodes` that lists the node, and the memory of the idle process.
func ready(ctx context.Context, c *config) ([]line, error) {
	var lines []line
	err := host(ctx, c, nil, func(ctx context.Context, h *cluster.Host, started time.Time) error {
		var nodes time.Duration
		if err := h.Await(ctx, "kubectl get nodes lists the node", func() error {
			if _, err := os.Stat(h.Kubeconfig()); err != nil {
				return err
			}
			out, err := h.Kubectl(ctx, "get", "nodes", "-o", "name")
			if err == nil && !strings.Contains(out, h.Name) {
				err = errors.New("no node yet")
			}
			nodes = time.Since(started)
			return err
		}); err != nil {
			return err
		}
		if err := h.Ready(ctx); err != nil {
			return err
		}
		nodeReady := time.Since(started)
		select {
		case <-time.After(idleFor):
		case <-ctx.Done():
			return ctx.Err()
		}
		mem, err := memory(h.Pid())
		if err != nil {
			return err
		}
		lines = []line{
			{"ready_s", nodes.Seconds(), "s", map[string]any{"node_ready_s": nodeReady.Seconds()}},
			{"idle_rss_mb", mem["VmRSS"], "MB", map[string]any{
				"anonymous_mb": mem["RssAnon"], "file_mb": mem["RssFile"], "peak_mb": mem["VmHWM"], "idle_s": idleFor.Seconds(),
			}},
		}
		return nil
	})
	return lines, err
}

// memory reads a process's memory figures, in MB, from /proc/PID/status.
func memory(pid int) (map[string]float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for l := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(l, ":")
		if kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")); err == nil {
			out[name] = float64(kb) / 1000
		}
	}
	return out, nil
}

// cpuSeconds returns the CPU time a process has used.
func cpuSeconds(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	const utime, stime, ticks = 11, 12, 100
	u, err := strconv.Atoi(f[utime])
	if err != nil {
		return 0, err
	}
	s, err := strconv.Atoi(f[stime])
	return float64(u+s) / ticks, err
}

// takeOver measures how long it takes until another manager writes.
func takeOver(ctx context.Context, c *config) ([]line, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	took, err := failover.Measure(ctx, c.binary, client)
	if err != nil {
		return nil, err
	}
	return []line{{"failover_s", took[len(took)/2], "s", map[string]any{"all_s": took}}}, nil
}
