package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

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
	CPU    struct{ UsageCoreNanoSeconds uint64 } `json:"cpu"`
	Memory struct{ WorkingSetBytes uint64 }      `json:"memory"`
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
	first := a.summaries(ctx, cs, nodes)
	started := time.Now()
	select {
	case <-time.After(topInterval):
	case <-ctx.Done():
		return ctx.Err()
	}
	second, took := a.summaries(ctx, cs, nodes), time.Since(started)
	var rows []topRow
	for i := range nodes.Items {
		name := nodes.Items[i].Name
		if was, now := first[name], second[name]; was != nil && now != nil {
			rows = append(rows, topNode(name, was, now, took)...)
		}
	}
	t := table{columns: []string{"KIND", "NAME", "CPU", "MEMORY", "NODE"}}
	for _, r := range rows {
		t.add(r.Kind, r.Name, fmt.Sprintf("%dm", r.CPUMilli), size(int64(r.MemoryBytes)), r.Node)
	}
	return a.print(rows, t)
}

// topInterval is how long CPU use is measured over.
const topInterval = time.Second

// summaries asks every agent; one that does not answer is named on stderr.
func (a *app) summaries(ctx context.Context, cs kubernetes.Interface, nodes *corev1.NodeList) map[string]*summary {
	out := map[string]*summary{}
	for i := range nodes.Items {
		name := nodes.Items[i].Name
		b, err := cs.CoreV1().RESTClient().Get().Resource("nodes").Name(name).SubResource("proxy").Suffix("stats/summary").DoRaw(ctx)
		s := &summary{}
		if err == nil {
			err = json.Unmarshal(b, s)
		}
		if err != nil {
			fmt.Fprintf(a.err, "node %s: %v\n", name, err)
			continue
		}
		out[name] = s
	}
	return out
}

// topNode returns a node's line and its pods', the largest user of CPU first.
func topNode(node string, was, now *summary, took time.Duration) []topRow {
	row := func(kind, name string, before, after *usageStats) topRow {
		used := after.CPU.UsageCoreNanoSeconds - min(before.CPU.UsageCoreNanoSeconds, after.CPU.UsageCoreNanoSeconds)
		return topRow{kind, name, node, 1000 * used / uint64(took), after.Memory.WorkingSetBytes}
	}
	before := map[string]*usageStats{}
	for i := range was.Pods {
		before[was.Pods[i].PodRef.Namespace+"/"+was.Pods[i].PodRef.Name] = &was.Pods[i].usageStats
	}
	var rows []topRow
	for i := range now.Pods {
		p := &now.Pods[i]
		name := p.PodRef.Namespace + "/" + p.PodRef.Name
		if old := before[name]; old != nil {
			rows = append(rows, row("pod", name, old, &p.usageStats))
		}
	}
	slices.SortStableFunc(rows, func(x, y topRow) int { return cmp.Compare(y.CPUMilli, x.CPUMilli) })
	return append([]topRow{row("node", node, &was.Node, &now.Node)}, rows...)
}
