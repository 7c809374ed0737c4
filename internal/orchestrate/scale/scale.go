package scale

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Scale is the size of one object.
type Scale struct {
	UID      types.UID
	Replicas int32 // asked for
	// Selector is of the object's pods as its status tells it; empty where it does
	// not, and for Kubernetes' own kinds, whose pods are found by their owner.
	Selector string
	// Resize asks for n pods.
	Resize func(n int32) error
}

// Reads lists the tables of what has a scale, and of what says so.
func Reads() []store.TableID { return append(Writes(), tables.CustomResourceDefinitions.ID()) }

// Writes lists the tables of what has a scale.
func Writes() []store.TableID {
	return []store.TableID{tables.Deployments.ID(), tables.ReplicaSets.ID(), tables.StatefulSets.ID(), tables.ReplicationControllers.ID(),
		tables.CustomObjects.ID()}
}

// Of returns the scale of an object; nil: there is no such object. It fails where the
// kind has none.
func Of(tx *store.Tx, gk schema.GroupKind, key object.Key) (*Scale, error) {
	switch gk {
	case tables.Deployments.GVK().GroupKind():
		return of(tx, tables.Deployments, key, func(o *appsv1.Deployment) **int32 { return &o.Spec.Replicas }), nil
	case tables.ReplicaSets.GVK().GroupKind():
		return of(tx, tables.ReplicaSets, key, func(o *appsv1.ReplicaSet) **int32 { return &o.Spec.Replicas }), nil
	case tables.StatefulSets.GVK().GroupKind():
		return of(tx, tables.StatefulSets, key, func(o *appsv1.StatefulSet) **int32 { return &o.Spec.Replicas }), nil
	case tables.ReplicationControllers.GVK().GroupKind():
		return of(tx, tables.ReplicationControllers, key, func(o *corev1.ReplicationController) **int32 { return &o.Spec.Replicas }), nil
	}
	d := tables.DefinitionOf(tx, gk)
	if d == nil {
		return nil, fmt.Errorf("no scale is known of kind %s: want Deployment, ReplicaSet, StatefulSet, ReplicationController or a custom resource", gk)
	}
	return custom(tx, d, key)
}

func of[O store.Object, H any](tx *store.Tx, t *store.Table[O, H], key object.Key, field func(O) **int32) *Scale {
	o, ok := t.Get(tx, key)
	if !ok {
		return nil
	}
	s := &Scale{UID: o.GetUID(), Replicas: 1}
	if n := *field(o); n != nil {
		s.Replicas = *n
	}
	s.Resize = func(n int32) error {
		next := o.DeepCopyObject().(O)
		*field(next) = &n
		next.SetGeneration(next.GetGeneration() + 1)
		t.Put(tx, next)
		return nil
	}
	return s
}

// custom returns the scale of a custom resource.
func custom(tx *store.Tx, d *tables.Definition, key object.Key) (*Scale, error) {
	at := d.Place(key.Namespace, key.Name).CustomKey()
	o, ok := tables.CustomObjects.Get(tx, at)
	if !ok {
		return nil, nil
	}
	version := o.GroupVersionKind().Version
	paths := d.Scales[version]
	if paths == nil {
		return nil, fmt.Errorf("the definition of %s.%s gives version %s, in which %q is stored, no subresource scale", d.Plural, d.Group, version, key.Name)
	}
	n, found, err := unstructured.NestedInt64(o.Object, paths.Replicas...)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("the spec replicas field %q does not exist", paths)
	}
	s := &Scale{UID: o.GetUID(), Replicas: int32(n)}
	if len(paths.Selector) > 0 {
		if s.Selector, _, err = unstructured.NestedString(o.Object, paths.Selector...); err != nil {
			return nil, err
		}
	}
	s.Resize = func(n int32) error {
		if err := paths.Allows(n); err != nil {
			return err
		}
		next := o.DeepCopy()
		if err := unstructured.SetNestedField(next.Object, int64(n), paths.Replicas...); err != nil {
			return err
		}
		next.SetGeneration(next.GetGeneration() + 1)
		tables.CustomObjects.PutAt(tx, at, next)
		return nil
	}
	return s, nil
}
