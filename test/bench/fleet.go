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

// course is when pods were seen bound and running by a watch, from the moment before they
// were asked for, each in the order of time.
type course struct{ bound, running []time.Duration }

// all returns how long the last took.
func (c *course) all() (bound, running time.Duration) {
	return c.bound[len(c.bound)-1], c.running[len(c.running)-1]
}

// detail says how the pods fared between the first and the last.
func (c *course) detail() map[string]any {
	bound, running := c.all()
	n := len(c.running)
	return map[string]any{
		"pods": n, "bound_s": bound.Seconds(), "running_s": running.Seconds(),
		"bound_p50_s": c.bound[len(c.bound)/2].Seconds(), "bound_p99_s": c.bound[len(c.bound)*99/100].Seconds(),
		"running_p50_s": c.running[n/2].Seconds(), "running_p99_s": c.running[n*99/100].Seconds(),
	}
}

// watchUntilRunning posts what makes pods and watches until so many are bound and running.
func watchUntilRunning(ctx context.Context, cs kubernetes.Interface, pods int, post func() error) (*course, error) {
	w, err := cs.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	started := time.Now()
	posted := make(chan error, 1)
	go func() { posted <- post() }()
	c, isBound, isRunning := &course{}, map[string]bool{}, map[string]bool{}
	for len(isRunning) < pods {
		select {
		case err := <-posted:
			if err != nil {
				return nil, err
			}
			posted = nil
		case e, ok := <-w.ResultChan():
			p, isPod := e.Object.(*corev1.Pod)
			if !ok || !isPod {
				return nil, fmt.Errorf("the watch ended: %v", apierrors.FromObject(e.Object))
			}
			if p.Spec.NodeName != "" && !isBound[p.Name] {
				isBound[p.Name] = true
				c.bound = append(c.bound, time.Since(started))
			}
			if p.Status.Phase == corev1.PodRunning && !isRunning[p.Name] {
				isRunning[p.Name] = true
				c.running = append(c.running, time.Since(started))
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%d bound, %d running of %d: %w", len(isBound), len(isRunning), pods, ctx.Err())
		}
	}
	return c, nil
}

// post makes a Deployment of the pod.
func post(ctx context.Context, cs kubernetes.Interface, name string, pods int, pod corev1.PodSpec) error {
	n := int32(pods)
	labels := map[string]string{"app": name}
	_, err := cs.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
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
