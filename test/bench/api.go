package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"trireme/test/cluster"
)

// api measures creates and gets of 1 KiB ConfigMaps by 64 clients: how many a
// second, and what each costs the server in CPU time.
func api(ctx context.Context, c *config) ([]line, error) {
	var lines []line
	err := host(ctx, c, []string{"--no-agent"}, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		if _, err := client(ctx, h); err != nil {
			return err
		}
		if _, err := h.Kubectl(ctx, "create", "configmap", "bench", "--from-literal=a="+string(bytes.Repeat([]byte("x"), 1000))); err != nil {
			return err
		}
		for _, b := range []struct{ name, verb string }{{"configmap_creates_per_s", "create"}, {"configmap_gets_per_s", "get"}} {
			for _, version := range []int{2, 1} {
				l, err := runLoad(ctx, c, h, load{Verb: b.verb, Clients: 64, Seconds: 5, HTTP: version})
				if err != nil {
					return fmt.Errorf("%s: %w", b.name, err)
				}
				if version == 1 {
					lines[len(lines)-1].Detail["http1"] = l
					continue
				}
				lines = append(lines, line{b.name, l["per_s"].(float64), "1/s", l})
			}
		}
		return nil
	})
	return lines, err
}

// runLoad runs the load client on the host and returns its figures and the
// server's CPU time a request.
func runLoad(ctx context.Context, c *config, h *cluster.Host, l load) (map[string]any, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	before, err := cpuSeconds(h.Pid())
	if err != nil {
		return nil, err
	}
	started := time.Now()
	profiled := make(chan error, 1)
	go func() {
		profiled <- c.profile(ctx, h, l.Verb, fmt.Sprintf("profile?seconds=%d", max(int(l.Seconds)-1, 1)))
	}()
	out, err := h.Run(ctx, self, "load", "-verb", l.Verb, "-clients", strconv.Itoa(l.Clients), "-http", strconv.Itoa(l.HTTP),
		"-seconds", strconv.FormatFloat(l.Seconds, 'g', -1, 64))
	if err != nil {
		return nil, err
	}
	took := time.Since(started)
	if err := <-profiled; err != nil {
		return nil, err
	}
	after, err := cpuSeconds(h.Pid())
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(out), &l); err != nil {
		return nil, err
	}
	if l.Error != "" {
		return nil, errors.New(l.Error)
	}
	mem, err := memory(h.Pid())
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"per_s": float64(l.Requests) / min(took.Seconds(), l.Seconds+1), "clients": l.Clients, "http": l.HTTP, "requests": l.Requests,
		"server_cpu_us": (after - before) / float64(l.Requests) * 1e6, "p50_ms": l.P50Ms, "p99_ms": l.P99Ms, "peak_rss_mb": mem["VmHWM"],
	}, nil
}
