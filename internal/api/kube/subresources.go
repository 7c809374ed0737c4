package kube

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"

	"trireme/internal/object"
)

// namespaceStore deletes a namespace in two steps: it is marked, a control loop
// empties it, and only then does it go (Kubernetes, "Namespaces Walkthrough").
type namespaceStore struct{ *registryStore }

// Delete implements rest.GracefulDeleter.
func (s *namespaceStore) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, opts *metav1.DeleteOptions) (runtime.Object, bool, error) {
	o, err := s.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	ns := o.(*corev1.Namespace)
	if name == metav1.NamespaceDefault || name == metav1.NamespaceSystem || name == metav1.NamespacePublic {
		return nil, false, apierrors.NewForbidden(s.DefaultQualifiedResource, name, fmt.Errorf("this namespace may not be deleted"))
	}
	if len(ns.Spec.Finalizers) == 0 {
		return s.Store.Delete(ctx, name, validate, opts)
	}
	key, err := s.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	pre := &storage.Preconditions{}
	if p := opts.Preconditions; p != nil {
		pre.UID, pre.ResourceVersion = p.UID, p.ResourceVersion
	}
	if err := pre.Check(key, ns); err != nil {
		return nil, false, storeerr.InterpretDeleteError(err, s.DefaultQualifiedResource, name)
	}
	if err := validate(ctx, ns); err != nil || len(opts.DryRun) > 0 {
		return ns, false, err
	}
	// Past the strategy: nobody but the system writes these fields.
	out := &corev1.Namespace{}
	err = s.Storage.GuaranteedUpdate(ctx, key, out, false, pre, storage.SimpleUpdate(func(o runtime.Object) (runtime.Object, error) {
		d := object.Deletion{Now: time.Now()}
		if opts.PropagationPolicy != nil {
			d.Policy = *opts.PropagationPolicy
		}
		d.Mark(o.(*corev1.Namespace))
		return o, nil
	}), false, nil)
	return out, false, storeerr.InterpretDeleteError(err, s.DefaultQualifiedResource, name)
}

// systemStrategy lets the door itself write what users may not.
type systemStrategy struct{ strategy }

func (systemStrategy) PrepareForUpdate(context.Context, runtime.Object, runtime.Object) {}

func (systemStrategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

// finalizeStore serves namespaces/finalize, which replaces spec.finalizers.
type finalizeStore struct{ statusStore }

func finalizing(st *genericregistry.Store, s strategy) *genericregistry.Store {
	c := *st
	c.UpdateStrategy, c.ResetFieldsStrategy = systemStrategy{s}, s
	return &c
}

// bindingStore serves pods/binding: any scheduler binds through it.
type bindingStore struct{ pods *genericregistry.Store }

// New implements rest.Storage.
func (s *bindingStore) New() runtime.Object { return &corev1.Binding{} }

// Destroy implements rest.Storage.
func (s *bindingStore) Destroy() {}

// Create implements rest.NamedCreater.
func (s *bindingStore) Create(ctx context.Context, name string, o runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	b := o.(*corev1.Binding)
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("target.kind: %q is not supported: a pod is bound to a Node", b.Target.Kind))
	}
	if b.Target.Name == "" {
		return nil, apierrors.NewBadRequest("target.name: the name of a node is required")
	}
	if err := validate(ctx, b.DeepCopyObject()); err != nil {
		return nil, err
	}
	bind := func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		pod := old.(*corev1.Pod).DeepCopy()
		switch {
		case pod.DeletionTimestamp != nil:
			return nil, apierrors.NewConflict(corev1.Resource("pods/binding"), name, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", name))
		case pod.Spec.NodeName != "":
			return nil, apierrors.NewConflict(corev1.Resource("pods/binding"), name, fmt.Errorf("pod %s is already assigned to node %q", name, pod.Spec.NodeName))
		}
		pod.Spec.NodeName = b.Target.Name
		object.SetPodCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
		return pod, nil
	}
	pods := *s.pods
	pods.UpdateStrategy = systemStrategy{s.pods.UpdateStrategy.(strategy)}
	_, _, err := pods.Update(ctx, name, rest.DefaultUpdatedObjectInfo(nil, bind), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{DryRun: opts.DryRun})
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, err
}

// scaleStore serves the scale subresource of the kinds that count replicas.
type scaleStore struct{ store *genericregistry.Store }

// New implements rest.Storage.
func (s *scaleStore) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy implements rest.Storage.
func (s *scaleStore) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (s *scaleStore) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// Get implements rest.Getter.
func (s *scaleStore) Get(ctx context.Context, name string, opts *metav1.GetOptions) (runtime.Object, error) {
	o, err := s.store.Get(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	return scaleOf(o)
}

// Update implements rest.Updater.
func (s *scaleStore) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	validate rest.ValidateObjectUpdateFunc, _ bool, opts *metav1.UpdateOptions) (runtime.Object, bool, error) {
	apply := func(ctx context.Context, _, stored runtime.Object) (runtime.Object, error) {
		o := stored.DeepCopyObject()
		old, err := scaleOf(o)
		if err != nil {
			return nil, err
		}
		n, err := info.UpdatedObject(ctx, old)
		if err != nil {
			return nil, err
		}
		next := n.(*autoscalingv1.Scale)
		if next.Spec.Replicas < 0 {
			return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), name,
				field.ErrorList{field.Invalid(field.NewPath("spec", "replicas"), next.Spec.Replicas, "must be greater than or equal to 0")})
		}
		if err := validate(ctx, next.DeepCopyObject(), old); err != nil {
			return nil, err
		}
		if rv := next.ResourceVersion; rv != "" {
			o.(metav1.Object).SetResourceVersion(rv)
		}
		*replicasOf(o) = &next.Spec.Replicas
		return o, nil
	}
	o, _, err := s.store.Update(ctx, name, rest.DefaultUpdatedObjectInfo(nil, apply), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, opts)
	if err != nil {
		return nil, false, err
	}
	out, err := scaleOf(o)
	return out, false, err
}

// ConvertToTable implements rest.TableConvertor.
func (s *scaleStore) ConvertToTable(ctx context.Context, o, opts runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(s.store.DefaultQualifiedResource).ConvertToTable(ctx, o, opts)
}

func replicasOf(o runtime.Object) **int32 {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Replicas
	case *appsv1.ReplicaSet:
		return &o.Spec.Replicas
	case *appsv1.StatefulSet:
		return &o.Spec.Replicas
	case *corev1.ReplicationController:
		return &o.Spec.Replicas
	}
	panic(fmt.Sprintf("kube: %T has no scale", o))
}

func scaleOf(o runtime.Object) (*autoscalingv1.Scale, error) {
	var selector *metav1.LabelSelector
	s := &autoscalingv1.Scale{}
	switch o := o.(type) {
	case *appsv1.Deployment:
		selector, s.Status.Replicas = o.Spec.Selector, o.Status.Replicas
	case *appsv1.ReplicaSet:
		selector, s.Status.Replicas = o.Spec.Selector, o.Status.Replicas
	case *appsv1.StatefulSet:
		selector, s.Status.Replicas = o.Spec.Selector, o.Status.Replicas
	case *corev1.ReplicationController:
		selector, s.Status.Replicas = metav1.SetAsLabelSelector(o.Spec.Selector), o.Status.Replicas
	}
	m := o.(metav1.Object)
	s.ObjectMeta = metav1.ObjectMeta{
		Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(),
		ResourceVersion: m.GetResourceVersion(), CreationTimestamp: m.GetCreationTimestamp(),
	}
	if r := *replicasOf(o); r != nil {
		s.Spec.Replicas = *r
	}
	sel, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, err
	}
	if sel.String() != labels.Nothing().String() {
		s.Status.Selector = sel.String()
	}
	return s, nil
}
