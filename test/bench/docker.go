package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"trireme/test/cluster"
)

// dockerFleet measures hollow nodes and one large service of docker's: from the POST until
// a watch has seen all its tasks run.
func dockerFleet(ctx context.Context, c *config) ([]line, error) {
	var l line
	err := host(ctx, c, []string{"--no-agent"}, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		cs, stop, err := hollowNodes(ctx, c, h, c.nodes)
		if err != nil {
			return err
		}
		defer stop()
		before, err := cpuSeconds(h.Pid())
		if err != nil {
			return err
		}
		profiled := c.profileFor(ctx, h, "docker_10k", "profile?seconds=8")
		seen, err := watchUntilRunning(ctx, cs, c.pods, func() error { return createService(ctx, h, uint64(c.pods)) })
		if err != nil {
			return err
		}
		after, err := cpuSeconds(h.Pid())
		if err != nil {
			return err
		}
		if err := errors.Join(profiled(), c.profile(ctx, h, "docker_10k_allocs", "allocs")); err != nil {
			return err
		}
		bound, running := seen.all()
		l = line{"docker_10k_running_s", running.Seconds(), "s", map[string]any{
			"nodes": c.nodes, "replicas": c.pods, "bound_s": bound.Seconds(), "manager_cpu_s": after - before,
		}}
		return nil
	})
	return []line{l}, err
}

// profileFor begins a profile that takes a while; what it returns waits for it.
func (c *config) profileFor(ctx context.Context, h *cluster.Host, name, what string) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- c.profile(ctx, h, name, what) }()
	return func() error { return <-done }
}

// createService posts a service as docker's clients do, to the socket.
func createService(ctx context.Context, h *cluster.Host, replicas uint64) error {
	spec := swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: "fleet"},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: webImage}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(h.Root, "docker.sock"))
	}}}
	defer web.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker/services/create", bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		said, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("creating a service: %s: %s", resp.Status, said)
	}
	return nil
}
