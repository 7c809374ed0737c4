package tables

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/store"
)

// What nodes and pods use, as their agents last said, and what was made of it. The rows live in memory: a
// manager that takes over asks again. They are no nouns of their own and not in All:
// the Kubernetes door shows them as metrics.k8s.io.
var (
	NodeSamples = store.NewTable(store.Spec[*object.NodeSample, none]{
		ID: "nodesamples", GVK: samples("NodeSample"), Prefix: "/registry/metrics.k8s.io/nodes/",
		Volatile: true, New: func() *object.NodeSample { return &object.NodeSample{} },
	})
	PodSamples = store.NewTable(store.Spec[*object.PodSample, none]{
		ID: "podsamples", GVK: samples("PodSample"), Prefix: "/registry/metrics.k8s.io/pods/",
		Namespaced: true, Volatile: true, New: func() *object.PodSample { return &object.PodSample{} },
	})
	// ScaleHistories is what autoscalers did lately.
	ScaleHistories = store.NewTable(store.Spec[*object.ScaleHistory, none]{
		ID: "scalehistories", GVK: samples("ScaleHistory"), Prefix: "/registry/metrics.k8s.io/scalehistories/",
		Namespaced: true, Volatile: true, New: func() *object.ScaleHistory { return &object.ScaleHistory{} },
	})
	// Refusals is what admission last said against the pods of an owner, whose UID is the
	// row's name.
	Refusals = store.NewTable(store.Spec[*object.Refusal, none]{
		ID: "refusals", GVK: samples("Refusal"), Prefix: "/registry/metrics.k8s.io/refusals/",
		Namespaced: true, Volatile: true, New: func() *object.Refusal { return &object.Refusal{} },
	})
)

func samples(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "metrics.trireme.dev", Version: "v1", Kind: kind}
}

// Samples returns the tables of samples, for tests that open a store of their own.
func Samples() []*store.Table[store.Object, any] {
	return []*store.Table[store.Object, any]{NodeSamples.Any(), PodSamples.Any(), ScaleHistories.Any(), Refusals.Any()}
}
