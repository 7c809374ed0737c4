package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/server"
)

func (a *app) psCommand() *cobra.Command {
	all, watch := false, false
	c := &cobra.Command{
		Use:   "ps [APP]",
		Short: "List what runs, whichever door it came by",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cs, ns, err := a.client()
			if err != nil {
				return err
			}
			if all {
				ns = ""
			}
			opts := metav1.ListOptions{}
			if len(args) == 1 {
				if opts.LabelSelector, err = selectorOf(cmd.Context(), cs, ns, args[0]); err != nil {
					return err
				}
			}
			if err := a.ps(cmd.Context(), cs, ns, &opts); err != nil || !watch {
				return err
			}
			return a.watchPods(cmd.Context(), cs, ns, opts)
		},
	}
	c.Flags().BoolVarP(&all, "all-namespaces", "A", false, "of every namespace")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "go on and print what changes")
	a.outputFlag(c)
	return c
}

// selectorOf returns the selector of an app's pods.
func selectorOf(ctx context.Context, cs kubernetes.Interface, ns, name string) (string, error) {
	d, err := cs.AppsV1().Deployments(ns).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("no app %q in namespace %s: `trireme ps` lists what there is", name, ns)
	}
	if err != nil {
		return "", err
	}
	return metav1.FormatLabelSelector(d.Spec.Selector), nil
}

// ps prints the pods and leaves in opts where a watch goes on.
func (a *app) ps(ctx context.Context, cs kubernetes.Interface, ns string, opts *metav1.ListOptions) error {
	pods, err := cs.CoreV1().Pods(ns).List(ctx, *opts)
	if err != nil {
		return err
	}
	opts.ResourceVersion = pods.ResourceVersion
	t := table{columns: podColumns(ns)}
	for i := range pods.Items {
		t.add(podCells(&pods.Items[i], ns)...)
	}
	pods.APIVersion, pods.Kind = "v1", "PodList"
	return a.print(pods, t)
}

func podColumns(ns string) []string {
	cols := []string{"POD", "IMAGE", "STATE", "READY", "RESTARTS", "NODE", "AGE", "ADDRESS*"}
	if ns == "" {
		return append([]string{"NAMESPACE"}, cols...)
	}
	return cols
}

func podCells(p *corev1.Pod, ns string) []string {
	var images []string
	for i := range p.Spec.Containers {
		images = append(images, p.Spec.Containers[i].Image)
	}
	ready, restarts := 0, 0
	for _, s := range p.Status.ContainerStatuses {
		restarts += int(s.RestartCount)
		if s.Ready {
			ready++
		}
	}
	cells := []string{
		p.Name, strings.Join(images, ","), podState(p), fmt.Sprintf("%d/%d", ready, len(p.Spec.Containers)),
		strconv.Itoa(restarts), orDash(p.Spec.NodeName), age(p.CreationTimestamp), orDash(p.Status.PodIP),
	}
	if ns == "" {
		return append([]string{p.Namespace}, cells...)
	}
	return cells
}

func (a *app) watchPods(ctx context.Context, cs kubernetes.Interface, ns string, opts metav1.ListOptions) error {
	w, err := cs.CoreV1().Pods(ns).Watch(ctx, opts)
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if !ok {
			return apierrors.FromObject(e.Object)
		}
		cells := podCells(p, ns)
		if e.Type == "DELETED" {
			cells[len(cells)-len(podColumns("x"))+2] = "Gone"
		}
		fmt.Fprintln(a.out, strings.Join(cells[:len(cells)-1], "   "))
	}
	return nil
}

func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "How the cluster is, and how to use and to join it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context()) },
	}
	a.outputFlag(c)
	return c
}

// clusterStatus is what status prints as JSON or YAML.
type clusterStatus struct {
	API        string `json:"api"`
	Version    string `json:"version"`
	Nodes      int    `json:"nodes"`
	NodesReady int    `json:"nodesReady"`
	Apps       int    `json:"apps"`
	AppsReady  int    `json:"appsReady"`
	Pods       int    `json:"pods"`
	PodsReady  int    `json:"podsReady"`
	Kubeconfig string `json:"kubeconfig,omitempty"`
	JoinToken  string `json:"joinToken,omitempty"`
	// ManagerJoinToken lets a machine join as a manager.
	ManagerJoinToken string `json:"managerJoinToken,omitempty"`
}

func (a *app) status(ctx context.Context) error {
	s, err := a.clusterStatus(ctx)
	if err != nil {
		return err
	}
	t := table{columns: []string{"WHAT", "IS"}}
	t.add("API", s.API)
	t.add("version", s.Version)
	t.add("nodes", fmt.Sprintf("%d, %d ready", s.Nodes, s.NodesReady))
	t.add("apps", fmt.Sprintf("%d, %d ready", s.Apps, s.AppsReady))
	t.add("pods", fmt.Sprintf("%d, %d ready", s.Pods, s.PodsReady))
	if s.Kubeconfig != "" {
		t.add("kubeconfig", s.Kubeconfig)
	}
	if s.JoinToken != "" {
		t.add("join a node", "trireme join --token "+s.JoinToken+" "+hostOf(s.API))
	}
	if s.ManagerJoinToken != "" {
		t.add("join a manager", "trireme join --token "+s.ManagerJoinToken+" "+hostOf(s.API))
	}
	return a.print(s, t)
}

func (a *app) clusterStatus(ctx context.Context) (*clusterStatus, error) {
	config, _, err := a.clientConfig()
	if err != nil {
		return nil, err
	}
	cs, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	v, err := cs.Discovery().ServerVersion()
	if err != nil {
		return nil, err
	}
	s := &clusterStatus{API: config.Host, Version: v.GitVersion}
	nodes, err := cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range nodes.Items {
		s.Nodes++
		if nodeState(&nodes.Items[i]) == "Ready" {
			s.NodesReady++
		}
	}
	apps, err := cs.AppsV1().Deployments("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range apps.Items {
		s.Apps++
		if d := &apps.Items[i]; d.Status.AvailableReplicas >= *d.Spec.Replicas {
			s.AppsReady++
		}
	}
	pods, err := cs.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		s.Pods++
		if podReady(&pods.Items[i]) {
			s.PodsReady++
		}
	}
	s.Kubeconfig = localKubeconfig()
	if kept, err := cs.CoreV1().Secrets(server.Tokens.Namespace).Get(ctx, server.Tokens.Name, metav1.GetOptions{}); err == nil { // who may not read it is not shown it
		s.JoinToken, s.ManagerJoinToken = string(kept.Data[server.WorkerTokenFile]), string(kept.Data[server.ManagerTokenFile])
	}
	return s, nil
}
