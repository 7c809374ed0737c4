package object

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// NodeSample is what a node uses. It has the node's name and labels.
type NodeSample struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	At                metav1.Time     `json:"at"`
	Window            metav1.Duration `json:"window"`  // what CPUNano is measured over
	CPUNano           int64           `json:"cpuNano"` // of a second, a second: 1e9 is one core
	MemoryBytes       int64           `json:"memoryBytes"`
}

// PodSample is what a pod uses and says of itself. It has the pod's name, namespace,
// UID and labels.
type PodSample struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	At                metav1.Time     `json:"at"`
	Window            metav1.Duration `json:"window"`
	Containers        []ContainerUse  `json:"containers"` // by name
	Series            []Series        `json:"series"`     // by name; what its own endpoint showed
}

// ContainerUse is what a container uses.
type ContainerUse struct {
	Name        string `json:"name"`
	CPUNano     int64  `json:"cpuNano"`
	MemoryBytes int64  `json:"memoryBytes"`
}

// Series is one value that a pod's endpoint showed: what it is now, or for what only
// grows, by how much a second.
type Series struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	Value  float64           `json:"value"`
}

// DeepCopyObject is a method of runtime.Object.
func (s *NodeSample) DeepCopyObject() runtime.Object {
	out := *s
	s.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

// DeepCopyObject is a method of runtime.Object.
func (s *PodSample) DeepCopyObject() runtime.Object {
	out := *s
	s.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Containers = slices.Clone(s.Containers)
	out.Series = slices.Clone(s.Series)
	for i := range out.Series {
		out.Series[i].Labels = maps.Clone(out.Series[i].Labels)
	}
	return &out
}

// ScaleHistory is what an autoscaler recommended and did lately.
type ScaleHistory struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Of                types.UID   `json:"of"` // the autoscaler
	Recommended       []ScaleStep `json:"recommended"`
	Added             []ScaleStep `json:"added"` // by how many pods the target grew
	Removed           []ScaleStep `json:"removed"`
}

// ScaleStep is a number of pods at a time.
type ScaleStep struct {
	At       metav1.Time `json:"at"`
	Replicas int32       `json:"replicas"`
}

// DeepCopyObject is a method of runtime.Object.
func (h *ScaleHistory) DeepCopyObject() runtime.Object {
	out := *h
	h.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Recommended, out.Added, out.Removed = slices.Clone(h.Recommended), slices.Clone(h.Added), slices.Clone(h.Removed)
	return &out
}

// Same reports whether both hold the same steps.
func (h *ScaleHistory) Same(o *ScaleHistory) bool {
	same := func(a, b ScaleStep) bool { return a.At.Equal(&b.At) && a.Replicas == b.Replicas }
	return h.Of == o.Of && slices.EqualFunc(h.Recommended, o.Recommended, same) && slices.EqualFunc(h.Added, o.Added, same) &&
		slices.EqualFunc(h.Removed, o.Removed, same)
}

// AdapterAnswers is what metrics adapters said of an autoscaler's metrics. It has the
// autoscaler's name and namespace.
type AdapterAnswers struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	At                metav1.Time     `json:"at"`
	Of                types.UID       `json:"of"`           // the autoscaler
	OfGeneration      int64           `json:"ofGeneration"` // of the spec that was asked for
	Answers           []AdapterAnswer `json:"answers"`      // one for each metric of the spec
}

// AdapterAnswer is what was said of one metric.
type AdapterAnswer struct {
	Asked  bool               `json:"asked"`  // false: no adapter knows such metrics
	Fault  string             `json:"fault"`  // why there are no values; empty: there are
	Values map[string]float64 `json:"values"` // by the described object's name; of an external metric under ""
}

// DeepCopyObject is a method of runtime.Object.
func (a *AdapterAnswers) DeepCopyObject() runtime.Object {
	out := *a
	a.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Answers = slices.Clone(a.Answers)
	for i := range out.Answers {
		out.Answers[i].Values = maps.Clone(out.Answers[i].Values)
	}
	return &out
}
