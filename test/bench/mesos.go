package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/examples/mesos/framework"
	"trireme/test/cluster"
)

// openMesos lets whoever reaches the ports of Mesos and Marathon do everything: these
// clusters are in a namespace of their own.
var openMesos = []string{"--no-agent", "--mesos-anonymous", "admin,system:masters"}

// errRunning ends a framework's stream: what it waited for has come.
var errRunning = errors.New("all tasks run")

// offerTasks measures tasks through one framework, on hollow nodes: from the first ACCEPT
// until it has been told of the last that it runs; every update is acknowledged.
func offerTasks(ctx context.Context, c *config) ([]line, error) {
	var l line
	err := host(ctx, c, openMesos, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		_, stop, err := hollowNodes(ctx, c, h, c.nodes)
		if err != nil {
			return err
		}
		defer stop()
		before, err := cpuSeconds(h.Pid())
		if err != nil {
			return err
		}
		clientBefore, err := cpuSeconds(os.Getpid())
		if err != nil {
			return err
		}
		profiled := c.profileFor(ctx, h, "offer_tasks", "profile?seconds=12")
		s := &storm{fw: &framework.Framework{
			Client: &http.Client{Transport: &http.Transport{DialContext: h.Dial, MaxIdleConnsPerHost: 64}},
			Master: "http://" + h.Address + ":5050", Name: "storm", Role: "*", RunAs: "root", AcksAtOnce: 32, Once: true,
		}, want: c.pods, perNode: (c.pods + c.nodes - 1) / c.nodes}
		if err := s.run(ctx); err != nil {
			return err
		}
		after, err := cpuSeconds(h.Pid())
		if err != nil {
			return err
		}
		client, err := cpuSeconds(os.Getpid())
		if err != nil {
			return err
		}
		if err := errors.Join(profiled(), c.profile(ctx, h, "offer_tasks_allocs", "allocs")); err != nil {
			return err
		}
		l = line{"offer_tasks_per_s", float64(c.pods) / s.took.Seconds(), "tasks/s", map[string]any{
			"nodes": c.nodes, "tasks": c.pods, "seconds": s.took.Seconds(), "updates": s.updates, "manager_cpu_s": after - before, "client_cpu_s": client - clientBefore,
		}}
		return nil
	})
	return []line{l}, err
}

// storm is a framework that fills offers with tasks that do nothing.
type storm struct {
	fw            *framework.Framework
	want, perNode int

	calls             errgroup.Group // offers that are being answered
	launched, updates int
	running           map[string]bool
	began             time.Time
	took              time.Duration
}

func (s *storm) run(ctx context.Context) error {
	s.running = map[string]bool{}
	s.calls.SetLimit(s.fw.AcksAtOnce)
	err := s.fw.Subscribe(ctx, func(e *framework.Event) error {
		switch e.Type {
		case "OFFERS":
			for i := range e.Offers.Offers {
				s.fill(ctx, &e.Offers.Offers[i])
			}
		case "UPDATE":
			s.updates++
			st := &e.Update.Status
			if st.Ended() {
				return fmt.Errorf("task %s: %s: %s", st.TaskID.Value, st.State, st.Message)
			}
			if st.State == "TASK_RUNNING" {
				if s.running[st.TaskID.Value] = true; len(s.running) == s.want {
					s.took = time.Since(s.began)
					return errRunning
				}
			}
		}
		return nil
	})
	if errors.Is(err, errRunning) {
		err = nil
	}
	return errors.Join(err, s.calls.Wait())
}

// fill answers an offer, beside others that are being answered.
func (s *storm) fill(ctx context.Context, o *framework.Offer) {
	var tasks []framework.Task
	for range min(s.perNode, s.want-s.launched, o.Fits(0.1, 32)) {
		if s.launched == 0 {
			s.began = time.Now()
		}
		id := "storm-" + strconv.Itoa(s.launched)
		s.launched++
		tasks = append(tasks, framework.Task{
			Name: id, TaskID: framework.Value{Value: id}, AgentID: o.AgentID, Command: framework.Command{Value: "sleep 1000"},
			Resources: []framework.Resource{framework.Scalar("cpus", 0.1), framework.Scalar("mem", 32)},
		})
	}
	s.calls.Go(func() error { return s.fw.Launch(ctx, o.ID, tasks, 60) })
}

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
