package usage

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// GroupVersion is what is served.
var GroupVersion = metrics.SchemeGroupVersion

// AddToScheme registers the group's types.
func AddToScheme(s *runtime.Scheme) error { return metrics.AddToScheme(s) }

// Storages returns the REST storage of the group's resources.
func Storages(s *store.Store) map[string]rest.Storage {
	return map[string]rest.Storage{"nodes": &nodes{store: s}, "pods": &pods{store: s}}
}

// rowsOf shows a sample as a line of a table.
type rowsOf struct{ resource schema.GroupResource }

// ConvertToTable implements rest.TableConvertor.
func (r rowsOf) ConvertToTable(_ context.Context, o, opts runtime.Object) (*metav1.Table, error) {
	t := &metav1.Table{}
	if to, ok := opts.(*metav1.TableOptions); !ok || !to.NoHeaders {
		t.ColumnDefinitions = []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: "Name of the object"},
			{Name: "CPU", Type: "string", Description: "CPU"}, {Name: "Memory", Type: "string", Description: "Memory"},
			{Name: "Window", Type: "string", Description: "Window"},
		}
	}
	add := func(o runtime.Object, name string, usage corev1.ResourceList, window metav1.Duration) {
		cpu, memory := usage[corev1.ResourceCPU], usage[corev1.ResourceMemory]
		t.Rows = append(t.Rows, metav1.TableRow{Cells: []any{name, cpu.String(), memory.String(), window.Duration.String()}, Object: runtime.RawExtension{Object: o}})
	}
	node := func(m *metrics.NodeMetrics) { add(m, m.Name, m.Usage, m.Window) }
	pod := func(m *metrics.PodMetrics) {
		var cpu, memory resource.Quantity
		for _, c := range m.Containers {
			cpu.Add(c.Usage[corev1.ResourceCPU])
			memory.Add(c.Usage[corev1.ResourceMemory])
		}
		add(m, m.Name, corev1.ResourceList{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory}, m.Window)
	}
	switch o := o.(type) {
	case *metrics.NodeMetrics:
		node(o)
	case *metrics.NodeMetricsList:
		for i := range o.Items {
			node(&o.Items[i])
		}
	case *metrics.PodMetrics:
		pod(o)
	case *metrics.PodMetricsList:
		for i := range o.Items {
			pod(&o.Items[i])
		}
	default:
		return nil, fmt.Errorf("%s: %T is no sample", r.resource, o)
	}
	return t, nil
}

// chosen reports whether a list's selectors match a sample.
func chosen(o metav1.Object, opts *metainternal.ListOptions) bool {
	if opts == nil {
		return true
	}
	if opts.LabelSelector != nil && !opts.LabelSelector.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	return opts.FieldSelector == nil || opts.FieldSelector.Matches(fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()})
}

// metaOf is what a sample's metadata shows.
func metaOf(o metav1.Object, at metav1.Time) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName(), Labels: o.GetLabels(), CreationTimestamp: at}
}

func usageOf(cpuNano, memory int64) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(cpuNano, resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
	}
}

// nodes serves what nodes use.
type nodes struct{ store *store.Store }

// The methods below implement rest.Storage, rest.Scoper, rest.Getter, rest.Lister and
// rest.SingularNameProvider.

func (n *nodes) New() runtime.Object     { return &metrics.NodeMetrics{} }
func (n *nodes) NewList() runtime.Object { return &metrics.NodeMetricsList{} }
func (n *nodes) Destroy()                {}
func (n *nodes) NamespaceScoped() bool   { return false }
func (n *nodes) GetSingularName() string { return "node" }

func (n *nodes) ConvertToTable(ctx context.Context, o, opts runtime.Object) (*metav1.Table, error) {
	return rowsOf{metrics.Resource("nodes")}.ConvertToTable(ctx, o, opts)
}

func (n *nodes) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	s, ok := tables.NodeSamples.Get(n.store.Snapshot(), object.Key{Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(metrics.Resource("nodes"), name)
	}
	return nodeMetrics(s), nil
}

func (n *nodes) List(_ context.Context, opts *metainternal.ListOptions) (runtime.Object, error) {
	out := &metrics.NodeMetricsList{Items: []metrics.NodeMetrics{}}
	for s := range tables.NodeSamples.All(n.store.Snapshot()) {
		if chosen(s, opts) {
			out.Items = append(out.Items, *nodeMetrics(s))
		}
	}
	return out, nil
}

func nodeMetrics(s *object.NodeSample) *metrics.NodeMetrics {
	return &metrics.NodeMetrics{ObjectMeta: metaOf(s, s.At), Timestamp: s.At, Window: s.Window, Usage: usageOf(s.CPUNano, s.MemoryBytes)}
}

// pods serves what pods use.
type pods struct{ store *store.Store }

func (p *pods) New() runtime.Object     { return &metrics.PodMetrics{} }
func (p *pods) NewList() runtime.Object { return &metrics.PodMetricsList{} }
func (p *pods) Destroy()                {}
func (p *pods) NamespaceScoped() bool   { return true }
func (p *pods) GetSingularName() string { return "pod" }

func (p *pods) ConvertToTable(ctx context.Context, o, opts runtime.Object) (*metav1.Table, error) {
	return rowsOf{metrics.Resource("pods")}.ConvertToTable(ctx, o, opts)
}

func (p *pods) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	s, ok := tables.PodSamples.Get(p.store.Snapshot(), object.Key{Namespace: request.NamespaceValue(ctx), Name: name})
	if !ok || len(s.Containers) == 0 {
		return nil, apierrors.NewNotFound(metrics.Resource("pods"), request.NamespaceValue(ctx)+"/"+name)
	}
	return podMetrics(s), nil
}

func (p *pods) List(ctx context.Context, opts *metainternal.ListOptions) (runtime.Object, error) {
	out := &metrics.PodMetricsList{Items: []metrics.PodMetrics{}}
	for row := range tables.PodSamples.Rows(p.store.Snapshot(), request.NamespaceValue(ctx)) {
		if s := row.Object(); len(s.Containers) > 0 && chosen(s, opts) {
			out.Items = append(out.Items, *podMetrics(s))
		}
	}
	return out, nil
}

func podMetrics(s *object.PodSample) *metrics.PodMetrics {
	out := &metrics.PodMetrics{ObjectMeta: metaOf(s, s.At), Timestamp: s.At, Window: s.Window, Containers: []metrics.ContainerMetrics{}}
	for _, c := range s.Containers {
		out.Containers = append(out.Containers, metrics.ContainerMetrics{Name: c.Name, Usage: usageOf(c.CPUNano, c.MemoryBytes)})
	}
	return out
}
