package tenant

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/object/tenant"
	"trireme/internal/share"
)

// row is a tenant as `ls` shows it.
type row struct {
	Name      string              `json:"name"`
	Path      string              `json:"path"`
	Weight    float64             `json:"weight"`
	Share     float64             `json:"share"` // dominant, those below it included, by weight
	Pods      int                 `json:"pods"`
	Used      corev1.ResourceList `json:"used"`
	Guarantee corev1.ResourceList `json:"guarantee,omitempty"`
	Limit     corev1.ResourceList `json:"limit,omitempty"`
}

func (t *commands) ls(ctx context.Context, _ []string) error {
	rows, err := t.rows(ctx)
	if err != nil {
		return err
	}
	var out [][]string
	for _, r := range rows {
		cpu, memory := r.Used[corev1.ResourceCPU], r.Used[corev1.ResourceMemory]
		out = append(out, []string{
			r.Name, r.Path, strconv.FormatFloat(r.Weight, 'f', -1, 64), fmt.Sprintf("%.1f%%", 100*r.Share), strconv.Itoa(r.Pods),
			cpu.String(), memory.String(), amounts(r.Guarantee), amounts(r.Limit),
		})
	}
	return t.env.Table(rows, []string{"TENANT", "PATH", "WEIGHT", "SHARE", "PODS", "CPU", "MEMORY", "GUARANTEE", "LIMIT"}, out)
}

// rows returns the tenants that have something or of which something is said, in order of paths.
func (t *commands) rows(ctx context.Context) ([]row, error) {
	said, err := t.said(ctx)
	if err != nil {
		return nil, err
	}
	spaces, err := t.cs.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	for i := range spaces.Items {
		paths[spaces.Items[i].Name] = mesos.Role(&spaces.Items[i])
	}
	for name, one := range said {
		if _, known := paths[name]; !known {
			ns := &corev1.Namespace{}
			ns.Name = name
			paths[name] = mesos.Role(ns)
		}
		if one.Spec.Path != "" {
			paths[name] = one.Spec.Path
		}
	}
	tree := share.New()
	for name, one := range said {
		tree.At(paths[name]).SetWeight(one.Weight())
	}
	pods, err := t.charge(ctx, tree, paths)
	if err != nil {
		return nil, err
	}
	var out []row
	for _, name := range slices.SortedFunc(maps.Keys(paths), func(a, b string) int {
		if paths[a] != paths[b] {
			return compare(paths[a], paths[b])
		}
		return compare(a, b)
	}) {
		one := said[name]
		if one == nil && pods[name] == 0 {
			continue
		}
		n := tree.At(paths[name])
		r := row{Name: name, Path: paths[name], Weight: 1, Share: n.Share(), Pods: pods[name], Used: list(n.Used())}
		if one != nil {
			r.Weight, r.Guarantee, r.Limit = one.Weight(), one.Spec.Guarantee, one.Spec.Limit
		}
		out = append(out, r)
	}
	return out, nil
}

func compare(a, b string) int {
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

// said returns the Tenants by their names.
func (t *commands) said(ctx context.Context) (map[string]*tenant.Tenant, error) {
	all, err := t.dyn.Resource(tenant.Tenants).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[string]*tenant.Tenant{}
	for i := range all.Items {
		one := &tenant.Tenant{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(all.Items[i].Object, one); err != nil {
			return nil, fmt.Errorf("reading tenant %s: %w", all.Items[i].GetName(), err)
		}
		out[one.Name] = one
	}
	return out, nil
}

// charge books all pods that have a node to their tenants, and returns how many each has.
func (t *commands) charge(ctx context.Context, tree *share.Tree, paths map[string]string) (map[string]int, error) {
	nodes, err := t.cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var total object.Demand
	for i := range nodes.Items {
		can, _ := object.CapacityOf(nodes.Items[i].Status.Allocatable)
		total = share.Plus(total, can, 1)
	}
	tree.SetTotal(total)
	pods := map[string]int{}
	for from := ""; ; {
		page, err := t.cs.CoreV1().Pods("").List(ctx, metav1.ListOptions{Limit: 1000, Continue: from})
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			p := &page.Items[i]
			if p.Spec.NodeName == "" || object.PodEnded(p) {
				continue
			}
			pods[p.Namespace]++
			tree.At(paths[p.Namespace]).Charge(object.DemandOf(p), 1)
		}
		if from = page.Continue; from == "" {
			return pods, nil
		}
	}
}

func list(d object.Demand) corev1.ResourceList {
	out := corev1.ResourceList{
		corev1.ResourceCPU: *resource.NewMilliQuantity(d.CPUMilli, resource.DecimalSI), corev1.ResourceMemory: *resource.NewQuantity(d.MemoryBytes, resource.BinarySI),
	}
	if d.EphemeralBytes > 0 {
		out[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(d.EphemeralBytes, resource.BinarySI)
	}
	for name, n := range d.Extended {
		out[name] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	return out
}
