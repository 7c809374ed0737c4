package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// custom is one command's way to the objects of one of our own kinds.
type custom struct {
	a    *app
	of   schema.GroupVersionResource
	word string // for one of them
	ns   string
	cs   kubernetes.Interface
	dyn  dynamic.Interface
}

// withCustom connects, and then does the command.
func (a *app) withCustom(of schema.GroupVersionResource, word string, do func(ctx context.Context, c custom, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cs, ns, err := a.client()
		if err != nil {
			return err
		}
		dyn, err := a.dynamicClient()
		if err != nil {
			return err
		}
		return do(cmd.Context(), custom{a: a, of: of, word: word, ns: ns, cs: cs, dyn: dyn}, args)
	}
}

func (c custom) resource() dynamic.ResourceInterface { return c.dyn.Resource(c.of).Namespace(c.ns) }

// customNames lists the objects of a kind in the namespace.
func customNames(a *app, of schema.GroupVersionResource) names {
	return func(ctx context.Context, _ kubernetes.Interface, ns string) ([]string, error) {
		d, err := a.dynamicClient()
		if err != nil {
			return nil, err
		}
		list, err := d.Resource(of).Namespace(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		var out []string
		for i := range list.Items {
			out = append(out, list.Items[i].GetName())
		}
		return out, nil
	}
}

// decode reads an object as its Go type.
func decode[T any](u *unstructured.Unstructured) (*T, error) {
	o := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return o, nil
}

// await waits until the condition, as it is of what the spec asks for now, is enough.
// What it says when the time is over is no error.
func (c custom) await(ctx context.Context, name, condition string, timeout time.Duration, enough func(metav1.Condition) bool) (u *unstructured.Unstructured, said metav1.Condition, err error) {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return c.resource().List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return c.resource().Watch(ctx, o)
		},
	}
	_, err = watchtools.UntilWithSync(within, lw, &unstructured.Unstructured{}, nil, func(e watch.Event) (bool, error) {
		if e.Type == watch.Deleted {
			return false, errors.New("somebody deleted it meanwhile")
		}
		u = e.Object.(*unstructured.Unstructured)
		o, err := decode[struct {
			Status struct {
				Conditions []metav1.Condition `json:"conditions"`
			} `json:"status"`
		}](u)
		if err != nil {
			return false, err
		}
		now := meta.FindStatusCondition(o.Status.Conditions, condition)
		if now == nil || now.ObservedGeneration < u.GetGeneration() {
			return false, nil
		}
		said = *now
		return enough(said), nil
	})
	if over := within.Err() != nil && ctx.Err() == nil; over && said.Reason != "" {
		return u, said, nil
	} else if over && err != nil {
		err = fmt.Errorf("%s %s: the cluster said nothing in %s: is a manager leading (`trireme status`)?", c.word, name, timeout)
	}
	return u, said, err
}

// holds is enough for who wants a condition to be true.
func holds(c metav1.Condition) bool { return c.Status == metav1.ConditionTrue }

// told is enough for who gets what is wanted at once, or a reason.
func told(metav1.Condition) bool { return true }
