package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/internal/object"
	"trireme/test/cluster"
)

// fleet measures hollow nodes and one large Deployment: pods bound a second,
// and pods seen Running by a watch a second, both from the POST.
func fleet(ctx context.Context, c *config) ([]line, error) {
	var lines []line
	err := host(ctx, c, []string{"--no-agent"}, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		var err error
		lines, err = fleetOn(ctx, c, h)
		return err
	})
	return lines, err
}

func fleetOn(ctx context.Context, c *config, h *cluster.Host) ([]line, error) {
	joined := time.Now()
	cs, stop, err := hollowNodes(ctx, c, h, c.nodes)
	if err != nil {
		return nil, err
	}
	defer stop()
	join := time.Since(joined)
	before, err := cpuSeconds(h.Pid())
	if err != nil {
		return nil, err
	}
	bound, running, err := deploy(ctx, cs, c.pods, corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "trireme.local/web:1"}}})
	if err != nil {
		return nil, err
	}
	after, err := cpuSeconds(h.Pid())
	if err != nil {
		return nil, err
	}
	mem, err := memory(h.Pid())
	if err != nil {
		return nil, err
	}
	detail := map[string]any{
		"nodes": c.nodes, "pods": c.pods, "bound_s": bound.Seconds(), "running_s": running.Seconds(), "join_s": join.Seconds(),
		"manager_cpu_s": after - before, "peak_rss_mb": mem["VmHWM"],
	}
	return []line{
		{"bound_pods_per_s", float64(c.pods) / bound.Seconds(), "pods/s", detail},
		{"running_pods_per_s", float64(c.pods) / running.Seconds(), "pods/s", detail},
	}, nil
}

// hollowNodes attaches hollow nodes, with more flags, and returns when they are ready. stop
// takes them away.
func hollowNodes(ctx context.Context, c *config, h *cluster.Host, count int, flags ...string) (cs kubernetes.Interface, stop func(), err error) {
	if cs, err = client(ctx, h); err != nil {
		return nil, nil, err
	}
	sim := h.Command(ctx, c.binary, append([]string{"sim", "nodes", "--count", strconv.Itoa(count), "--manager", h.Address + ":6444"}, flags...)...)
	sim.Stderr = os.Stderr
	if err := sim.Start(); err != nil {
		return nil, nil, err
	}
	if err := h.Await(ctx, fmt.Sprintf("%d hollow nodes are ready", count), func() error { return allReady(ctx, cs, count) }); err != nil {
		stopChild(sim)
		return nil, nil, err
	}
	return cs, func() { stopChild(sim) }, nil
}

func stopChild(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	_ = cmd.Wait()                          // its end is what was asked for
}

// client returns a client that runs on this side of the wire but in the host's
// network: its connections are made in the host's namespace.
func client(ctx context.Context, h *cluster.Host) (*kubernetes.Clientset, error) {
	if err := h.Await(ctx, "the API answers", func() error {
		_, err := h.Kubectl(ctx, "get", "ns", "default")
		return err
	}); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", h.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.Dial = h.Dial
	config.ContentType, config.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	config.QPS, config.Burst = 10_000, 10_000
	return kubernetes.NewForConfig(config)
}

func allReady(ctx context.Context, cs kubernetes.Interface, want int) error {
	nodes, err := cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	n := 0
	for i := range nodes.Items {
		if object.NodeReady(&nodes.Items[i]) {
			n++
		}
	}
	if n < want {
		return fmt.Errorf("%d are", n)
	}
	return nil
}

// deploy posts a Deployment of the pod and watches its pods until all are bound
// and running.
func deploy(ctx context.Context, cs kubernetes.Interface, pods int, pod corev1.PodSpec) (bound, running time.Duration, err error) {
	return watchUntilRunning(ctx, cs, pods, func() error { return post(ctx, cs, pods, pod) })
}

// watchUntilRunning posts what makes pods and watches until so many are bound and running.
func watchUntilRunning(ctx context.Context, cs kubernetes.Interface, pods int, post func() error) (bound, running time.Duration, err error) {
	w, err := cs.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, 0, err
	}
	defer w.Stop()
	started := time.Now()
	if err := post(); err != nil {
		return 0, 0, err
	}
	isBound, isRunning := map[string]bool{}, map[string]bool{}
	for len(isRunning) < pods {
		select {
		case e, ok := <-w.ResultChan():
			p, isPod := e.Object.(*corev1.Pod)
			if !ok || !isPod {
				return 0, 0, fmt.Errorf("the watch ended: %v", apierrors.FromObject(e.Object))
			}
			if p.Spec.NodeName != "" {
				isBound[p.Name] = true
			}
			if len(isBound) == pods && bound == 0 {
				bound = time.Since(started)
			}
			if p.Status.Phase == corev1.PodRunning {
				isRunning[p.Name] = true
			}
		case <-ctx.Done():
			return 0, 0, fmt.Errorf("%d bound, %d running of %d: %w", len(isBound), len(isRunning), pods, ctx.Err())
		}
	}
	return bound, time.Since(started), nil
}

// post makes the Deployment.
func post(ctx context.Context, cs kubernetes.Interface, pods int, pod corev1.PodSpec) error {
	n := int32(pods)
	labels := map[string]string{"app": "fleet"}
	_, err := cs.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "fleet"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
		},
	}, metav1.CreateOptions{})
	return err
}

// allRun counts on the server's side: a watch of 100,000 pods that start at once
// would be measured with it, and falls behind on a busy machine.
func allRun(ctx context.Context, cs kubernetes.Interface, want int) error {
	waiting, err := cs.CoreV1().Pods("default").List(ctx, metav1.ListOptions{FieldSelector: "status.phase!=Running", Limit: 1})
	if err != nil {
		return err
	}
	all, err := cs.CoreV1().Pods("default").List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	n := len(all.Items)
	if all.RemainingItemCount != nil {
		n += int(*all.RemainingItemCount)
	}
	if n < want || len(waiting.Items) > 0 {
		return fmt.Errorf("%d pods are there, some wait: %t", n, len(waiting.Items) > 0)
	}
	return nil
}
