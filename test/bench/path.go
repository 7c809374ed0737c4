package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"trireme/test/cluster"
)

// maker asks the API for so many pods.
type maker func(ctx context.Context, cs kubernetes.Interface, pods int) error

// path measures the whole path on hollow nodes, with durable commits: from the request
// until a watch has seen all pods bound, and Running.
func path(name string, create maker) func(context.Context, *config) ([]line, error) {
	return func(ctx context.Context, c *config) (lines []line, err error) {
		err = host(ctx, c, []string{"--no-agent"}, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
			joined := time.Now()
			cs, stop, err := hollowNodes(ctx, c, h, c.nodes)
			if err != nil {
				return err
			}
			defer stop()
			join := time.Since(joined)
			g, err := c.gauge(ctx, h, name)
			if err != nil {
				return err
			}
			seen, err := watchUntilRunning(ctx, cs, c.pods, func() error { return create(ctx, cs, c.pods) })
			if err != nil {
				return err
			}
			detail := seen.detail()
			detail["nodes"], detail["join_s"] = c.nodes, join.Seconds()
			if err := g.read(detail); err != nil {
				return err
			}
			bound, running := seen.all()
			lines = []line{
				{name + "_bound_per_s", float64(c.pods) / bound.Seconds(), "pods/s", detail},
				{name + "_running_per_s", float64(c.pods) / running.Seconds(), "pods/s", detail},
			}
			return nil
		})
		return lines, err
	}
}

// gauge is what a stretch of work costs the manager.
type gauge struct {
	pid    int
	before float64 // seconds of CPU
	began  time.Time
	wait   func() error // for the profile
}

// profileSeconds is how long the profile of a gauge is.
const profileSeconds = 8

// gauge begins to measure; a profile of its first seconds is kept where they are asked for.
func (c *config) gauge(ctx context.Context, h *cluster.Host, name string) (*gauge, error) {
	g := &gauge{pid: h.Pid(), wait: func() error { return nil }}
	if c.profiles != "" {
		g.wait = c.profileFor(ctx, h, name, fmt.Sprintf("profile?seconds=%d", profileSeconds))
		select {
		case <-time.After(time.Second): // until it runs
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var err error
	g.before, err = cpuSeconds(g.pid)
	g.began = time.Now()
	return g, err
}

// read adds what was used since the gauge began, and how busy the machine is: a figure of
// a shared machine says little without it.
func (g *gauge) read(detail map[string]any) error {
	after, err := cpuSeconds(g.pid)
	if err != nil {
		return err
	}
	detail["manager_cpu_s"], detail["seconds"] = after-g.before, time.Since(g.began).Seconds()
	mem, err := memory(g.pid)
	if err != nil {
		return err
	}
	detail["rss_mb"], detail["peak_rss_mb"] = mem["VmRSS"], mem["VmHWM"]
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	detail["load"], _, _ = strings.Cut(string(load), " ")
	return g.wait()
}

// plainPod is the least that a pod can be.
func plainPod() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: webImage}}}
}

func oneDeployment(ctx context.Context, cs kubernetes.Interface, pods int) error {
	return post(ctx, cs, "fleet", pods, plainPod())
}

func hundredDeployments(ctx context.Context, cs kubernetes.Interface, pods int) error {
	return deployments(ctx, cs, 100, pods, plainPod())
}

// requestsAtOnce is how many requests a client has under way.
const requestsAtOnce = 32

// deployments makes n Deployments of the pod, pods in all.
func deployments(ctx context.Context, cs kubernetes.Interface, n, pods int, pod corev1.PodSpec) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(requestsAtOnce)
	for i := range n {
		g.Go(func() error {
			return post(ctx, cs, fmt.Sprintf("fleet-%d", i), pods*(i+1)/n-pods*i/n, pod)
		})
	}
	return g.Wait()
}

func barePods(ctx context.Context, cs kubernetes.Interface, pods int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(requestsAtOnce)
	for i := range pods {
		g.Go(func() error { return postPod(ctx, cs, fmt.Sprintf("bare-%d", i)) })
	}
	return g.Wait()
}

func postPod(ctx context.Context, cs kubernetes.Interface, name string) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"bare": "true"}}, Spec: plainPod()}
	_, err := cs.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	return err
}

// replaceAll measures a rolling update of all replicas at once, and another within the
// limits that a Deployment has where it names none.
func replaceAll(ctx context.Context, c *config) ([]line, error) {
	var l line
	err := host(ctx, c, []string{"--no-agent"}, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		cs, stop, err := hollowNodes(ctx, c, h, c.nodes)
		if err != nil {
			return err
		}
		defer stop()
		if _, err := watchUntilRunning(ctx, cs, c.pods, func() error { return oneDeployment(ctx, cs, c.pods) }); err != nil {
			return err
		}
		detail := map[string]any{"nodes": c.nodes, "pods": c.pods}
		gradual, err := update(ctx, cs, c.pods, `{"spec":{"template":{"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"1"}]}]}}}}`)
		if err != nil {
			return err
		}
		detail["default_strategy_s"] = gradual.Seconds()
		g, err := c.gauge(ctx, h, "path_rollout_10k")
		if err != nil {
			return err
		}
		took, err := update(ctx, cs, c.pods, `{"spec":{"strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":"100%"}},
			"template":{"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"2"}]}]}}}}`)
		if err != nil {
			return err
		}
		l = line{"path_rollout_10k_s", took.Seconds(), "s", detail}
		return g.read(detail)
	})
	return []line{l}, err
}

// update patches the Deployment and returns when only new pods are there and all are
// available.
func update(ctx context.Context, cs kubernetes.Interface, pods int, patch string) (time.Duration, error) {
	began := time.Now()
	_, err := cs.AppsV1().Deployments("default").Patch(ctx, "fleet", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return 0, err
	}
	w, err := cs.AppsV1().Deployments("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	for {
		select {
		case e, ok := <-w.ResultChan():
			d, is := e.Object.(*appsv1.Deployment)
			if !ok || !is {
				return 0, errors.New("the watch of the Deployment ended")
			}
			s, want := d.Status, int32(pods)
			if s.ObservedGeneration == d.Generation && s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want {
				return time.Since(began), nil
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("updating %d pods: %w", pods, ctx.Err())
		}
	}
}
