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
	// AdapterAnswers is what metrics adapters said of the metrics of autoscalers.
	AdapterAnswers = store.NewTable(store.Spec[*object.AdapterAnswers, none]{
		ID: "adapteranswers", GVK: samples("AdapterAnswers"), Prefix: "/registry/metrics.k8s.io/adapteranswers/",
		Namespaced: true, Volatile: true, New: func() *object.AdapterAnswers { return &object.AdapterAnswers{} },
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

// Samples returns the tables that no door shows as they are: of samples, and of what
// loops derive for nodes.
func Samples() []*store.Table[store.Object, any] {
	return []*store.Table[store.Object, any]{
		NodeSamples.Any(), PodSamples.Any(), ScaleHistories.Any(), AdapterAnswers.Any(), Refusals.Any(), PeerGroups.Any(), Routes.Any(), NetworkMembers.Any(),
		MesosOffers.Any(), MesosAccepts.Any(), MesosTasks.Any(), MesosNotices.Any(),
	}
}
