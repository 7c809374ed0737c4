package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"trireme/test/cluster"
)

// path150k measures 150,000 pods of a usual size on 5,000 nodes, and then how long the
// death of one of these nodes is noticed: from the last sign of life until as many pods
// as it had run elsewhere.
func path150k(ctx context.Context, c *config) ([]line, error) {
	c = c.sized(5_000, 150_000)
	pod := usualPod()
	pod.Tolerations = []corev1.Toleration{
		{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64)},
	}
	var lines []line
	err := host(ctx, c, []string{"--no-agent"}, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		doomed, err := oneNode(ctx, c, h)
		if err != nil {
			return err
		}
		defer stopChild(doomed)
		cs, stop, err := hollowNodes(ctx, c, h, c.nodes)
		if err != nil {
			return err
		}
		defer stop()
		detail := map[string]any{"nodes": c.nodes, "pods": c.pods}
		took, err := (&fleet{c, h, cs}).fill(ctx, "path_5k_150k", pod, detail)
		if err != nil {
			return err
		}
		lines = append(lines, line{"path_5k_150k_s", took.Seconds(), "s", detail})
		died, err := nodeDeath(ctx, cs, doomed)
		lines = append(lines, died)
		return err
	})
	return lines, err
}

// path1m measures a million of the smallest pods on 10,000 nodes.
func path1m(ctx context.Context, c *config) ([]line, error) {
	c = c.sized(10_000, 1_000_000)
	var l line
	err := host(ctx, c, []string{"--no-agent"}, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		cs, stop, err := hollowNodes(ctx, c, h, c.nodes)
		if err != nil {
			return err
		}
		defer stop()
		detail := map[string]any{"nodes": c.nodes, "pods": c.pods}
		took, err := (&fleet{c, h, cs}).fill(ctx, "path_10k_1m", plainPod(), detail)
		l = line{"path_10k_1m_s", took.Seconds(), "s", detail}
		return err
	})
	return []line{l}, err
}

// fleet is a manager and its hollow nodes.
type fleet struct {
	c  *config
	h  *cluster.Host
	cs kubernetes.Interface
}

// fillEach is how many replicas each Deployment of fill has.
const fillEach = 1_000

// fill makes the Deployments and waits until all their pods run, by asking: a watch of so
// many would be measured with them.
func (f *fleet) fill(ctx context.Context, name string, pod corev1.PodSpec, detail map[string]any) (time.Duration, error) {
	c, h, cs := f.c, f.h, f.cs
	idle, err := memory(h.Pid())
	if err != nil {
		return 0, err
	}
	detail["nodes_alone_mb"] = idle["VmRSS"]
	g, err := c.gauge(ctx, h, name)
	if err != nil {
		return 0, err
	}
	if err := deployments(ctx, cs, max(1, c.pods/fillEach), c.pods, pod); err != nil {
		return 0, err
	}
	half, err := untilRun(ctx, cs, c.pods/2)
	if err != nil {
		return 0, err
	}
	detail["half_s"] = half.Sub(g.began).Seconds()
	profiled := c.profileFor(ctx, h, name+"_half", fmt.Sprintf("profile?seconds=%d", profileSeconds))
	all, err := untilRun(ctx, cs, c.pods)
	if err != nil {
		return 0, err
	}
	if err := g.read(detail); err != nil {
		return 0, err
	}
	return all.Sub(g.began), errors.Join(profiled(), c.profile(ctx, h, name+"_heap", "heap"))
}

// untilRun returns when so many pods run.
func untilRun(ctx context.Context, cs kubernetes.Interface, pods int) (time.Time, error) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := runningPods(ctx, cs)
		if err != nil || n >= pods {
			return time.Now(), err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%d of %d pods run: %w", n, pods, ctx.Err())
		}
	}
}

// runningPods counts the pods that their Deployments know as available.
func runningPods(ctx context.Context, cs kubernetes.Interface) (int, error) {
	list, err := cs.AppsV1().Deployments("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range list.Items {
		n += int(list.Items[i].Status.AvailableReplicas)
	}
	return n, nil
}

// doomedNode is the node that dies.
const doomedNode = "doomed-0"

// oneNode attaches the node that is to die, in a process of its own.
func oneNode(ctx context.Context, c *config, h *cluster.Host) (*exec.Cmd, error) {
	if _, err := client(ctx, h); err != nil { // until the API answers
		return nil, err
	}
	sim := h.Command(ctx, c.binary, "sim", "nodes", "--count", "1", "--prefix", "doomed-", "--manager", h.Address+":6444")
	sim.Stderr = os.Stderr
	return sim, sim.Start()
}

// nodeDeath kills the node and returns when its pods have been replaced.
func nodeDeath(ctx context.Context, cs kubernetes.Interface, doomed *exec.Cmd) (line, error) {
	pods := cs.CoreV1().Pods("default")
	there, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + doomedNode})
	if err != nil {
		return line{}, err
	}
	if len(there.Items) == 0 {
		return line{}, errors.New("the node that is to die has no pods")
	}
	w, err := pods.Watch(ctx, metav1.ListOptions{ResourceVersion: there.ResourceVersion})
	if err != nil {
		return line{}, err
	}
	defer w.Stop()
	began := time.Now()
	if err := doomed.Process.Signal(syscall.SIGKILL); err != nil {
		return line{}, err
	}
	fmt.Fprintf(os.Stderr, "%s is dead, with %d pods\n", doomedNode, len(there.Items))
	noticed, run := time.Duration(0), map[string]bool{}
	for len(run) < len(there.Items) {
		select {
		case e, ok := <-w.ResultChan():
			p, is := e.Object.(*corev1.Pod)
			if !ok || !is {
				return line{}, errors.New("the watch of the pods ended")
			}
			if noticed == 0 {
				noticed = time.Since(began)
			}
			if p.Status.Phase == corev1.PodRunning && p.Spec.NodeName != doomedNode {
				run[p.Name] = true
			}
		case <-ctx.Done():
			return line{}, fmt.Errorf("%d of %d pods are replaced: %w", len(run), len(there.Items), ctx.Err())
		}
	}
	return line{"node_death_s", time.Since(began).Seconds(), "s", map[string]any{"pods": len(run), "noticed_s": noticed.Seconds()}}, nil
}
