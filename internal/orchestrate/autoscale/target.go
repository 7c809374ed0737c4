package autoscale

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// target is what is scaled, or what a metric is of.
type target struct {
	uid      types.UID
	replicas int32
	owners   []types.UID // of its pods
	resize   func(n int32)
}

// targetOf finds what a reference names.
func targetOf(tx *store.Tx, namespace string, ref autoscalingv2.CrossVersionObjectReference) (*target, error) {
	key := object.Key{Namespace: namespace, Name: ref.Name}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	gk := gv.WithKind(ref.Kind).GroupKind()
	switch gk {
	case tables.Deployments.GVK().GroupKind():
		if o, ok := tables.Deployments.Get(tx, key); ok {
			return deployment(tx, o), nil
		}
	case tables.ReplicaSets.GVK().GroupKind():
		if o, ok := tables.ReplicaSets.Get(tx, key); ok {
			return &target{uid: o.UID, replicas: count(o.Spec.Replicas), owners: []types.UID{o.UID}, resize: func(n int32) {
				next := o.DeepCopy()
				next.Spec.Replicas = &n
				next.Generation++
				tables.ReplicaSets.Put(tx, next)
			}}, nil
		}
	case tables.StatefulSets.GVK().GroupKind():
		if o, ok := tables.StatefulSets.Get(tx, key); ok {
			return &target{uid: o.UID, replicas: count(o.Spec.Replicas), owners: []types.UID{o.UID}, resize: func(n int32) {
				next := o.DeepCopy()
				next.Spec.Replicas = &n
				next.Generation++
				tables.StatefulSets.Put(tx, next)
			}}, nil
		}
	case tables.ReplicationControllers.GVK().GroupKind():
		if o, ok := tables.ReplicationControllers.Get(tx, key); ok {
			return &target{uid: o.UID, replicas: count(o.Spec.Replicas), owners: []types.UID{o.UID}, resize: func(n int32) {
				next := o.DeepCopy()
				next.Spec.Replicas = &n
				next.Generation++
				tables.ReplicationControllers.Put(tx, next)
			}}, nil
		}
	default:
		return nil, fmt.Errorf("no scale is known of kind %s: want Deployment, ReplicaSet, StatefulSet or ReplicationController", gk)
	}
	return nil, fmt.Errorf("%s %q not found", gk, ref.Name)
}

func deployment(tx *store.Tx, o *appsv1.Deployment) *target {
	t := &target{uid: o.UID, replicas: count(o.Spec.Replicas), resize: func(n int32) {
		next := o.DeepCopy()
		next.Spec.Replicas = &n
		next.Generation++
		tables.Deployments.Put(tx, next)
	}}
	for row := range tables.ReplicaSets.By(tx, tables.OwnerIndex, string(o.UID)) {
		if metav1.IsControlledBy(row.Object(), o) {
			t.owners = append(t.owners, row.Object().UID)
		}
	}
	return t
}

func count(p *int32) int32 {
	if p == nil {
		return 1
	}
	return *p
}

// member is a pod of a target.
type member struct {
	key    object.Key
	head   *tables.PodHead
	sample *object.PodSample // nil: it has none
}

// members returns the target's pods in order of their owners and keys, those apart that
// have failed or are to go.
func (t *target) members(tx *store.Tx) (all []member) {
	for _, uid := range t.owners {
		for row := range tables.Pods.By(tx, tables.OwnerIndex, string(uid)) {
			h := row.Head()
			if h.Owner != uid || h.Deleting || h.Phase == corev1.PodFailed {
				continue
			}
			m := member{key: row.Key(), head: h}
			if s, ok := tables.PodSamples.Get(tx, m.key); ok && s.UID == h.UID {
				m.sample = s
			}
			all = append(all, m)
		}
	}
	return all
}

// samplesOf returns the samples of an object's pods.
func samplesOf(tx *store.Tx, namespace string, ref autoscalingv2.CrossVersionObjectReference) (all []*object.PodSample, err error) {
	key := object.Key{Namespace: namespace, Name: ref.Name}
	switch ref.Kind {
	case tables.Pods.GVK().Kind:
		if s, ok := tables.PodSamples.Get(tx, key); ok {
			all = append(all, s)
		}
		return all, nil
	case tables.Services.GVK().Kind:
		svc, ok := tables.Services.Get(tx, key)
		if !ok {
			return nil, fmt.Errorf("Service %q not found", ref.Name)
		}
		if len(svc.Spec.Selector) == 0 {
			return nil, fmt.Errorf("Service %q selects no pods", ref.Name)
		}
		sel := labels.SelectorFromSet(svc.Spec.Selector)
		for s := range tables.PodSamples.In(tx, namespace) {
			if sel.Matches(labels.Set(s.Labels)) {
				all = append(all, s)
			}
		}
		return all, nil
	}
	t, err := targetOf(tx, namespace, ref)
	if err != nil {
		return nil, err
	}
	for _, m := range t.members(tx) {
		if m.sample != nil {
			all = append(all, m.sample)
		}
	}
	return all, nil
}
