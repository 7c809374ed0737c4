package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"trireme/test/cluster"
)

// openMesos lets whoever reaches the ports of Mesos and Marathon do everything: these
// clusters are in a namespace of their own.
var openMesos = []string{"--no-agent", "--mesos-anonymous", "admin,system:masters"}

// delayLocality measures the share of tasks that run where their data are, of the
// framework in examples/mesos/mapreduce on 100 hollow nodes of 8 slots: with a wait of a
// tenth of a task's mean time, and without.
func delayLocality(ctx context.Context, c *config) ([]line, error) {
	const nodes, mean = 100, 20 * time.Second
	framework := filepath.Join(filepath.Dir(c.binary), "mapreduce")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", framework, "./examples/mesos/mapreduce").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the framework: %w: %s", err, out)
	}
	var l line
	err := host(ctx, c, openMesos, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		_, stop, err := hollowNodes(ctx, c, h, nodes, "--cpus", "8", "--memory", "16Gi")
		if err != nil {
			return err
		}
		defer stop()
		var figures [2]map[string]any
		for i, wait := range []time.Duration{0, mean / 10} {
			cmd := h.Command(ctx, framework, "-master", "http://"+h.Address+":5050", "-wait", wait.String(), "-cpus", "1", "-mem", "32",
				"-jobs", "150", "-nodes", strconv.Itoa(nodes), "-mean", mean.String())
			var out, said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &said
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%w: %s", err, said.String())
			}
			if err := json.Unmarshal(out.Bytes(), &figures[i]); err != nil {
				return fmt.Errorf("reading %q: %w", out.String(), err)
			}
		}
		pct, _ := figures[1]["locality_pct"].(float64)
		l = line{"delay_locality_pct", pct, "%", map[string]any{"with": figures[1], "without": figures[0]}}
		return nil
	})
	return []line{l}, err
}
