package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/object"
	"trireme/internal/server"
)

func (a *app) nodeCommand() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "The machines of the cluster"}
	ls := &cobra.Command{
		Use: "ls", Short: "List the nodes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.nodeLs(cmd.Context()) },
	}
	a.outputFlag(ls)
	inspect := &cobra.Command{
		Use: "inspect NODE", Short: "Everything about a node", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if code := a.kubectl([]string{"describe", "node", args[0]}); code != 0 {
				a.code = code
			}
			return nil
		},
	}
	timeout := time.Duration(0)
	drain := &cobra.Command{
		Use: "drain NODE", Short: "Move what runs on a node elsewhere and send it nothing new", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.nodeDrain(cmd.Context(), args[0], timeout) },
	}
	drain.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	activate := &cobra.Command{
		Use: "activate NODE", Short: "Let a drained node take pods again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cs, _, err := a.client()
			if err != nil {
				return err
			}
			if err := setUnschedulable(cmd.Context(), cs, args[0], false); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "node %s takes pods again\n", args[0])
			return nil
		},
	}
	c.AddCommand(ls, a.complete(inspect, allNodes, false), a.complete(drain, allNodes, false), a.complete(activate, allNodes, false))
	return c
}

func (a *app) nodeLs(ctx context.Context) error {
	cs, _, err := a.client()
	if err != nil {
		return err
	}
	nodes, err := cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	t := table{columns: []string{"NODE", "STATE", "ADDRESS", "CPUS", "MEMORY", "PODS", "AGE", "SUBNET*", "OVERLAY*", "VERSION*", "KERNEL*"}}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		t.add(n.Name, nodeState(n), orDash(nodeAddress(n)), n.Status.Allocatable.Cpu().String(),
			size(n.Status.Allocatable.Memory().Value()), n.Status.Allocatable.Pods().String(), age(n.CreationTimestamp),
			orDash(n.Spec.PodCIDR), object.OverlayEncryption(n), orDash(n.Status.NodeInfo.KubeletVersion), orDash(n.Status.NodeInfo.KernelVersion))
	}
	nodes.APIVersion, nodes.Kind = "v1", "NodeList"
	return a.print(nodes, t)
}

// nodeState is a node's state in words.
func nodeState(n *corev1.Node) string {
	state := "Unknown"
	switch object.NodeReadiness(&n.Status) {
	case corev1.ConditionTrue:
		state = "Ready"
	case corev1.ConditionFalse:
		state = "NotReady"
	}
	if n.Spec.Unschedulable {
		state += ",Drained"
	}
	return state
}

func nodeAddress(n *corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}

func setUnschedulable(ctx context.Context, cs kubernetes.Interface, name string, on bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%v}}`, on)
	_, err := cs.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

// nodeDrain cordons a node, evicts its pods and waits until they are gone.
func (a *app) nodeDrain(ctx context.Context, name string, timeout time.Duration) error {
	cs, _, err := a.client()
	if err != nil {
		return err
	}
	if err := setUnschedulable(ctx, cs, name, true); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p := newProgress(a.err)
	defer p.Done()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		pods, err := cs.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", name).String()})
		if err != nil {
			return err
		}
		left := 0
		for i := range pods.Items {
			pod := &pods.Items[i]
			if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
				continue
			}
			left++
			if pod.DeletionTimestamp != nil {
				continue
			}
			e := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
			err := cs.PolicyV1().Evictions(pod.Namespace).Evict(ctx, e)
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsTooManyRequests(err) {
				return fmt.Errorf("evicting %s/%s: %w", pod.Namespace, pod.Name, err)
			}
		}
		if left == 0 {
			p.say("node %s is drained", name)
			return nil
		}
		p.say("%d pods left on %s", left, name)
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("node %s: %d pods are still there after %s", name, left, timeout)
			}
			return ctx.Err()
		}
	}
}

// localToken returns the join token where this machine is a manager and the
// caller may read it.
func localToken() string {
	path := localKubeconfig()
	if path == "" {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(path), "pki", "token"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// hostOf returns the host of an API URL with the port of agent sessions, where
// it is not the usual one.
func hostOf(api string) string {
	u, err := url.Parse(api)
	if err != nil {
		return api
	}
	_, port, err := net.SplitHostPort(server.Default().Manager.AgentListen)
	if err != nil || port == "" {
		return u.Hostname()
	}
	return net.JoinHostPort(u.Hostname(), port)
}
