package registry

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// Give writes the Image as whoever the client is of, and waits until the cluster holds it.
// Labels may be nil.
func Give(ctx context.Context, client dynamic.Interface, spec ImageSpec, labels map[string]string) (*Image, error) {
	_, name, err := Name(spec.Reference)
	if err != nil {
		return nil, err
	}
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&spec)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": raw}}
	u.SetGroupVersionKind(Resource.GroupVersion().WithKind("Image"))
	u.SetName(name)
	u.SetLabels(labels)
	images := client.Resource(Resource)
	if u, err = images.Apply(ctx, name, u, metav1.ApplyOptions{FieldManager: "trireme", Force: true}); err != nil {
		return nil, err
	}
	generation := u.GetGeneration()
	image := &Image{}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
			return images.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
			return images.Watch(ctx, o)
		},
	}
	_, err = watchtools.UntilWithSync(ctx, lw, &unstructured.Unstructured{}, nil, func(e watch.Event) (bool, error) {
		if e.Type == watch.Deleted {
			return false, errors.New("somebody removed it meanwhile")
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(e.Object.(*unstructured.Unstructured).Object, image); err != nil {
			return false, err
		}
		c := meta.FindStatusCondition(image.Status.Conditions, ConditionReady)
		if c == nil || c.ObservedGeneration < generation {
			return false, nil
		}
		if c.Status != metav1.ConditionTrue {
			return false, errors.New(c.Message)
		}
		return true, nil
	})
	return image, err
}
