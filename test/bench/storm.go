package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"trireme/test/cluster"
	"trireme/test/storm"
)

// launcher returns a framework on the host's network.
func launcher(ctx context.Context, h *cluster.Host, want, perNode int, runFor time.Duration) *storm.Launcher {
	return storm.NewLauncher(func() (net.Conn, error) {
		conn, err := h.Dial(ctx, "tcp", h.Address+":5050")
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // who waits for it is to end too
		}
		return conn, err
	}, want, perNode, runFor)
}

// spent is what two processes have taken of CPU, in seconds: the manager and this one.
func spent(h *cluster.Host) (manager, client float64, err error) {
	if manager, err = cpuSeconds(h.Pid()); err == nil {
		client, err = cpuSeconds(os.Getpid())
	}
	return manager, client, err
}

// offerTasks measures tasks through one framework, on hollow nodes: from the first ACCEPT
// until it has been told of the last that it runs, and every update is acknowledged.
func offerTasks(ctx context.Context, c *config) ([]line, error) {
	var out line
	err := host(ctx, c, openMesos, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		_, stop, err := hollowNodes(ctx, c, h, c.nodes)
		if err != nil {
			return err
		}
		defer stop()
		profiled := c.profileFor(ctx, h, "offer_tasks", "profile?seconds=8")
		l := launcher(ctx, h, c.pods, (c.pods+c.nodes-1)/c.nodes, 0)
		manager, client, err := spent(h)
		if err == nil {
			err = l.Subscribe()
		}
		for err == nil && l.Ledger.Came() < 2*c.pods {
			err = l.Step()
		}
		if err = errors.Join(err, l.Wait()); err != nil {
			return err
		}
		took := time.Since(l.Began).Seconds()
		managerNow, clientNow, err := spent(h)
		if err = errors.Join(err, l.End(), profiled(), c.profile(ctx, h, "offer_tasks_allocs", "allocs")); err != nil {
			return err
		}
		out = line{"offer_tasks_per_s", float64(c.pods) / took, "tasks/s", map[string]any{
			"nodes": c.nodes, "tasks": c.pods, "seconds": took, "updates": l.Ledger.Acked(), "manager_cpu_s": managerNow - manager, "client_cpu_s": clientNow - client,
		}}
		return nil
	})
	return []line{out}, err
}

// updatesEach is how many updates a task has that runs and finishes: STARTING, RUNNING, FINISHED.
const updatesEach = 3

// manyUpdates measures how long it takes until a framework, that hangs up and comes back nine
// times in the midst of it, has acknowledged a million updates of short tasks, and counts what
// was lost, and what came though it was acknowledged.
func manyUpdates(ctx context.Context, c *config) ([]line, error) {
	var out line
	err := host(ctx, c, openMesos, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		_, stop, err := hollowNodes(ctx, c, h, c.nodes)
		if err != nil {
			return err
		}
		defer stop()
		const restarts = 9
		want := (c.updates + updatesEach - 1) / updatesEach
		l := launcher(ctx, h, want, 10, 100*time.Millisecond)
		all := want * updatesEach
		manager, client, err := spent(h)
		if err == nil {
			err = l.Subscribe()
		}
		for next := all / (restarts + 1); err == nil && l.Ledger.Came() < all; {
			if err = l.Step(); err == nil && l.Ledger.Acked() >= next {
				next += all / (restarts + 1)
				err = errors.Join(l.Leave(), l.Subscribe())
			}
		}
		if err = errors.Join(err, l.Wait()); err != nil {
			return fmt.Errorf("after %d updates of %d tasks: %w", l.Ledger.Acked(), l.Launched, err)
		}
		took := time.Since(l.Began).Seconds()
		managerNow, clientNow, err := spent(h)
		if err != nil {
			return err
		}
		mem, err := memory(h.Pid())
		if err = errors.Join(err, l.End()); err != nil {
			return err
		}
		out = line{"mesos_updates_1m_s", took, "s", map[string]any{
			"nodes": c.nodes, "tasks": want, "acknowledged": l.Ledger.Acked(), "lost": l.Ledger.Lost(want, updatesEach), "doubled": l.Ledger.Twice,
			"again_on_a_new_stream": l.Ledger.Again, "out_of_order": len(l.Ledger.Wrong), "restarts": restarts,
			"manager_cpu_s": managerNow - manager, "client_cpu_s": clientNow - client, "peak_rss_mb": mem["VmHWM"],
		}}
		return nil
	})
	return []line{out}, err
}
