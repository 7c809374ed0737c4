package kube

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"trireme/internal/admit"
	"trireme/internal/api/kube/admission/register"
	"trireme/internal/object"
	"trireme/internal/store"
)

// strategy answers the registry's questions about any kind by asking admit.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	namespaced bool
	gv         schema.GroupVersion
}

func newStrategy(s *runtime.Scheme, r resource) strategy {
	return strategy{s, names.SimpleNameGenerator, r.table.Namespaced(), r.gv}
}

// The methods below implement rest.RESTCreateStrategy, rest.RESTUpdateStrategy
// and rest.RESTDeleteStrategy.

func (s strategy) NamespaceScoped() bool { return s.namespaced }

func (s strategy) PrepareForCreate(_ context.Context, o runtime.Object) {
	admit.PrepareCreate(o.(store.Object))
}

func (s strategy) Validate(_ context.Context, o runtime.Object) field.ErrorList {
	return slices.Concat(admit.Validate(o.(store.Object)), admit.ValidateMarks(o.(store.Object), nil), register.Validate(o, nil))
}

func (s strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }

func (s strategy) Canonicalize(runtime.Object) {}

func (s strategy) AllowCreateOnUpdate(context.Context) bool { return false }

func (s strategy) AllowUnconditionalUpdate(context.Context) bool { return true }

func (s strategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	admit.PrepareUpdate(o.(store.Object), old.(store.Object))
}

func (s strategy) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return slices.Concat(admit.ValidateUpdate(o.(store.Object), old.(store.Object)), admit.ValidateMarks(o.(store.Object), old.(store.Object)), register.Validate(o, old))
}

func (s strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// GetResetFields says that the main resource does not own the status.
func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(s.gv.String()): fieldpath.NewSet(fieldpath.MakePathOrDie("status")),
	}
}

// statusStrategy is the strategy of a kind's status subresource.
type statusStrategy struct{ strategy }

func (s statusStrategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	admit.PrepareStatus(o.(store.Object), old.(store.Object))
}

func (s statusStrategy) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return admit.ValidateStatusUpdate(o.(store.Object), old.(store.Object))
}

// GetResetFields says that the status does not own the spec.
func (s statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(s.gv.String()): fieldpath.NewSet(fieldpath.MakePathOrDie("spec")),
	}
}

// ephemeralStrategy is the strategy of pods/ephemeralcontainers.
type ephemeralStrategy struct{ strategy }

func (s ephemeralStrategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	admit.PrepareEphemeral(o.(*corev1.Pod), old.(*corev1.Pod))
}

func (s ephemeralStrategy) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return admit.ValidateEphemeral(o.(*corev1.Pod), old.(*corev1.Pod))
}

// GetResetFields says that only the ephemeral containers can be owned.
func (s ephemeralStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return nil
}

// resizeStrategy is the strategy of pods/resize.
type resizeStrategy struct{ strategy }

func (s resizeStrategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	admit.PrepareResize(o.(*corev1.Pod), old.(*corev1.Pod))
}

func (s resizeStrategy) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return admit.ValidateResize(o.(*corev1.Pod), old.(*corev1.Pod))
}

// GetResetFields implements rest.ResetFieldsStrategy: what it does not write, it
// leaves as it is.
func (s resizeStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set { return nil }

// podStrategy adds what is true of pods only: they are given time to end.
type podStrategy struct{ strategy }

// CheckGracefulDelete implements rest.RESTGracefulDeleteStrategy: a pod on a
// node stays until its agent says that it has ended.
func (s podStrategy) CheckGracefulDelete(_ context.Context, o runtime.Object, opts *metav1.DeleteOptions) bool {
	if opts == nil {
		return false
	}
	period := object.Deletion{GraceSeconds: opts.GracePeriodSeconds}.Grace(o.(*corev1.Pod))
	opts.GracePeriodSeconds = &period
	return true
}

// DefaultGarbageCollectionPolicy implements rest.GarbageCollectionDeleteStrategy.
func (s strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	return rest.DeleteDependents
}
