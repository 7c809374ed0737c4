package object

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// NodeSample is what a node uses. It has the node's name and labels.
type NodeSample struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	At          metav1.Time
	Window      metav1.Duration // what CPUNano is measured over
	CPUNano     int64           // of a second, a second: 1e9 is one core
	MemoryBytes int64
}

// PodSample is what a pod uses and says of itself. It has the pod's name, namespace,
// UID and labels.
type PodSample struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	At         metav1.Time
	Window     metav1.Duration
	Containers []ContainerUse // by name
	Series     []Series       // by name; what its own endpoint showed
}

// ContainerUse is what a container uses.
type ContainerUse struct {
	Name        string
	CPUNano     int64
	MemoryBytes int64
}

// Series is one value that a pod's endpoint showed: what it is now, or for what only
// grows, by how much a second.
type Series struct {
	Name   string
	Labels map[string]string
	Value  float64
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
