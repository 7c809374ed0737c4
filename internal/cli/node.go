package cli

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/cli/plan"
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
	activate := &cobra.Command{
		Use: "activate NODE", Short: "Let a drained node take pods again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cs, _, err := a.client()
			if err != nil {
				return err
			}
			if err := plan.Cordon(cmd.Context(), cs, args[0], false); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "node %s takes pods again\n", args[0])
			return nil
		},
	}
	c.AddCommand(ls, a.complete(inspect, allNodes, false), a.complete(a.drainCommand(), allNodes, false), a.complete(activate, allNodes, false))
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

// localToken returns the join token of a sort where this machine is a manager and the
// caller may read it.
func localToken(file string) string {
	path := localKubeconfig()
	if path == "" {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(path), "pki", file))
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
