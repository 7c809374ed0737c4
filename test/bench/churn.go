package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"trireme/test/cluster"
)

// The steady state that churn_cpu_cores measures.
const (
	churnEach = 500 // pods of a Deployment
	churnRate = 200 // pods that come, and as many that go, in a second
	churnLife = 10 * time.Second
)

// churn measures the manager at rest but for pods that come and go: 200 a second are made,
// each is deleted ten seconds later.
func churn(ctx context.Context, c *config) ([]line, error) {
	c = c.sized(5_000, 50_000)
	var l line
	err := host(ctx, c, []string{"--no-agent"}, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		cs, stop, err := hollowNodes(ctx, c, h, c.nodes)
		if err != nil {
			return err
		}
		defer stop()
		detail := map[string]any{"nodes": c.nodes, "pods": c.pods, "rate": churnRate}
		if err := deployments(ctx, cs, c.pods/churnEach, c.pods, usualPod()); err != nil {
			return err
		}
		if _, err := untilRun(ctx, cs, c.pods); err != nil {
			return err
		}
		select {
		case <-time.After(restsAfter):
		case <-ctx.Done():
			return ctx.Err()
		}
		l, err = churnOn(ctx, c, h, cs, detail)
		return err
	})
	return []line{l}, err
}

func churnOn(ctx context.Context, c *config, h *cluster.Host, cs kubernetes.Interface, detail map[string]any) (line, error) {
	mill := &churner{cs: cs, made: map[string]time.Time{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ended(ctx, mill.watch(ctx)) })
	g.Go(func() error { return ended(ctx, mill.turn(ctx)) })
	var l line
	g.Go(func() error {
		defer cancel()
		if err := pause(ctx, churnLife+2*time.Second); err != nil { // until as many go as come
			return err
		}
		used, err := c.gauge(ctx, h, "churn")
		if err != nil {
			return err
		}
		before, err := memory(h.Pid())
		if err != nil {
			return err
		}
		mill.reset()
		if err := pause(ctx, c.churn); err != nil {
			return err
		}
		if err := used.read(detail); err != nil {
			return err
		}
		detail["rss_before_mb"] = before["VmRSS"]
		if err := mill.report(detail); err != nil {
			return err
		}
		l = line{"churn_cpu_cores", detail["manager_cpu_s"].(float64) / detail["seconds"].(float64), "cores", detail}
		return c.profile(ctx, h, "churn_heap", "heap")
	})
	err := g.Wait()
	return l, err
}

// ended returns err, nil where ctx has ended: that is how the churn stops.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// churner makes and deletes pods, and notes how long they took to run.
type churner struct {
	cs kubernetes.Interface

	mu     sync.Mutex
	made   map[string]time.Time // asked for, and not seen running yet
	starts []time.Duration
}

// turn makes pods at the rate, and deletes each when its life is over.
func (m *churner) turn(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4 * requestsAtOnce)
	pods := m.cs.CoreV1().Pods("default")
	tick := time.NewTicker(time.Second / churnRate)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return g.Wait()
		}
		name := fmt.Sprintf("churn-%d", i)
		m.mu.Lock()
		m.made[name] = time.Now()
		m.mu.Unlock()
		g.Go(func() error { return postPod(ctx, m.cs, name) })
		if old := i - churnRate*int(churnLife/time.Second); old >= 0 {
			g.Go(func() error { return pods.Delete(ctx, fmt.Sprintf("churn-%d", old), metav1.DeleteOptions{}) })
		}
	}
}

// watch notes which pods run.
func (m *churner) watch(ctx context.Context) error {
	w, err := m.cs.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{LabelSelector: "bare"})
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("the watch of the pods ended: %v", e.Object)
		}
		if p.Status.Phase != corev1.PodRunning {
			continue
		}
		m.mu.Lock()
		if at, waits := m.made[p.Name]; waits {
			delete(m.made, p.Name)
			m.starts = append(m.starts, time.Since(at))
		}
		m.mu.Unlock()
	}
	return ctx.Err()
}

// reset forgets the starts so far.
func (m *churner) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.starts = nil
}

func (m *churner) report(detail map[string]any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.starts)
	if n == 0 {
		return fmt.Errorf("no pod has started")
	}
	slices.Sort(m.starts)
	detail["started"], detail["start_p50_s"], detail["start_p99_s"] = n, m.starts[n/2].Seconds(), m.starts[n*99/100].Seconds()
	return nil
}
