package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// completeWait bounds how long a press of the tab key asks the cluster.
const completeWait = 2 * time.Second

// names lists what may stand for an argument.
type names func(ctx context.Context, cs kubernetes.Interface, ns string) ([]string, error)

// complete lets the shell complete a command's first argument, or every one,
// with names that the cluster has now.
func (a *app) complete(c *cobra.Command, list names, every bool) *cobra.Command {
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !every {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWait)
		defer cancel()
		cs, ns, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found, err := list(ctx, cs, ns)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

func apps(ctx context.Context, cs kubernetes.Interface, ns string) ([]string, error) {
	list, err := cs.AppsV1().Deployments(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Name)
	}
	return out, nil
}

func podNames(ctx context.Context, cs kubernetes.Interface, ns string) ([]string, error) {
	list, err := cs.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Name)
	}
	return out, nil
}

func appsAndPods(ctx context.Context, cs kubernetes.Interface, ns string) ([]string, error) {
	some, err := apps(ctx, cs, ns)
	if err != nil {
		return nil, err
	}
	more, err := podNames(ctx, cs, ns)
	return append(some, more...), err
}

func allNodes(ctx context.Context, cs kubernetes.Interface, _ string) ([]string, error) {
	list, err := cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Name)
	}
	return out, nil
}
