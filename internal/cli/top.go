package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// summary is the part of an agent's /stats/summary that top shows; the shape is
// that of a kubelet's.
type summary struct {
	Node usageStats `json:"node"`
	Pods []podStats `json:"pods"`
}

type usageStats struct {
	CPU    struct{ UsageNanoCores uint64 }  `json:"cpu"`
	Memory struct{ WorkingSetBytes uint64 } `json:"memory"`
}

type podStats struct {
	PodRef struct{ Name, Namespace string } `json:"podRef"`
	usageStats
}

func (a *app) topCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "top", Short: "What nodes and pods use now", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.top(cmd.Context()) },
	}
	a.outputFlag(c)
	return c
}

// topRow is one line of top.
type topRow struct {
	Kind        string `json:"kind"`
	Name        string `json:"name"`
	Node        string `json:"node"`
	CPUMilli    uint64 `json:"cpuMilli"`
	MemoryBytes uint64 `json:"memoryBytes"`
}

func (a *app) top(ctx context.Context) error {
	cs, _, err := a.client()
	if err != nil {
		return err
	}
	nodes, err := cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var rows []topRow
	for i := range nodes.Items {
		more, err := topNode(ctx, cs, &nodes.Items[i])
		if err != nil {
			fmt.Fprintf(a.err, "node %s: %v\n", nodes.Items[i].Name, err)
			continue
		}
		rows = append(rows, more...)
	}
	t := table{columns: []string{"KIND", "NAME", "CPU", "MEMORY", "NODE"}}
	for _, r := range rows {
		t.add(r.Kind, r.Name, fmt.Sprintf("%dm", r.CPUMilli), bytes(int64(r.MemoryBytes)), r.Node)
	}
	return a.print(rows, t)
}

// topNode returns a node's line and its pods', the largest user of CPU first.
func topNode(ctx context.Context, cs kubernetes.Interface, n *corev1.Node) ([]topRow, error) {
	b, err := cs.CoreV1().RESTClient().Get().Resource("nodes").Name(n.Name).SubResource("proxy").Suffix("stats/summary").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var s summary
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	row := func(kind, name string, u *usageStats) topRow {
		return topRow{kind, name, n.Name, u.CPU.UsageNanoCores / 1e6, u.Memory.WorkingSetBytes}
	}
	var rows []topRow
	for i := range s.Pods {
		rows = append(rows, row("pod", s.Pods[i].PodRef.Namespace+"/"+s.Pods[i].PodRef.Name, &s.Pods[i].usageStats))
	}
	slices.SortStableFunc(rows, func(x, y topRow) int { return int(y.CPUMilli) - int(x.CPUMilli) })
	return append([]topRow{row("node", n.Name, &s.Node)}, rows...), nil
}
