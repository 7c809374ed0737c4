package plans

import (
	"context"
	"encoding/json"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"trireme/internal/object"
	"trireme/internal/tables"
	"trireme/internal/whatif"
)

// manager is whose the fields are that a plan would set.
const manager = "trireme-plan"

// applier has objects admitted as their writer would, without keeping them.
type applier struct {
	cfg       Config
	client    dynamic.Interface
	namespace string
}

// apply returns what would be written for an object, or for those of a list.
func (a *applier) apply(ctx context.Context, raw json.RawMessage) ([]whatif.Put, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if !u.IsList() {
		put, err := a.one(ctx, u)
		return []whatif.Put{put}, err
	}
	var puts []whatif.Put
	err := u.EachListItem(func(o runtime.Object) error {
		put, err := a.one(ctx, o.(*unstructured.Unstructured))
		puts = append(puts, put)
		return err
	})
	return puts, err
}

func (a *applier) one(ctx context.Context, u *unstructured.Unstructured) (put whatif.Put, err error) {
	k, err := a.kind(u.GroupVersionKind())
	if err != nil {
		return put, err
	}
	var c dynamic.ResourceInterface = a.client.Resource(k.Resource)
	if k.namespaced {
		if u.GetNamespace() == "" {
			u.SetNamespace(a.namespace)
		}
		c = a.client.Resource(k.Resource).Namespace(u.GetNamespace())
	}
	u.SetManagedFields(nil)
	u.SetResourceVersion("")
	all := []string{metav1.DryRunAll}
	if u.GetName() == "" {
		u, err = c.Create(ctx, u, metav1.CreateOptions{DryRun: all, FieldManager: manager})
	} else {
		u, err = c.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{DryRun: all, FieldManager: manager, Force: true})
	}
	if err != nil {
		return put, err
	}
	put.Table, put.Object, put.Key = k.Table, k.Table.New(), object.KeyOf(u)
	if k.custom {
		put.Object = u
		put.Key = tables.CustomPlace{Group: k.Resource.Group, Plural: k.Resource.Resource, Key: put.Key}.CustomKey()
		return put, nil
	}
	return put, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, put.Object)
}

// found is a kind, and how its objects are kept.
type found struct {
	Kind
	namespaced, custom bool
}

// kind finds a kind among those of tables and those that users defined.
func (a *applier) kind(gvk schema.GroupVersionKind) (found, error) {
	if k, ok := a.cfg.Kinds[gvk]; ok {
		if k.Table.GVK() != gvk {
			return found{}, apierrors.NewBadRequest(fmt.Sprintf("apiVersion: %s cannot be planned as %s: use %s", gvk.Kind, gvk.GroupVersion(), k.Table.GVK().GroupVersion()))
		}
		return found{k, k.Table.Namespaced(), false}, nil
	}
	for d := range tables.CustomResourceDefinitions.All(a.cfg.Store.Snapshot()) {
		if d.Spec.Group != gvk.Group || d.Spec.Names.Kind != gvk.Kind {
			continue
		}
		for _, v := range d.Spec.Versions {
			if v.Name == gvk.Version && v.Storage && v.Served {
				gvr := schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: d.Spec.Names.Plural}
				return found{Kind{gvr, tables.CustomObjects.Any()}, d.Spec.Scope == apiextensionsv1.NamespaceScoped, true}, nil
			}
		}
	}
	return found{}, apierrors.NewBadRequest(fmt.Sprintf("kind: no kind %q is kept as %q", gvk.Kind, gvk.GroupVersion()))
}
