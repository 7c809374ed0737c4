package admission

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"

	"trireme/internal/admit"
	"trireme/internal/kind"
	"trireme/internal/policy"
	"trireme/internal/store"
)

// rules is the plugin of the cluster's own rules.
type rules struct{ store *store.Store }

// Handles implements admission.Interface.
func (r rules) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Admit implements admission.MutationInterface.
func (r rules) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	o, old, ok := objects(a)
	if !ok {
		return nil
	}
	head := r.store.Head()
	if err := admit.InNamespace(head, o, old); err != nil {
		return Refusal(err, a.GetResource().GroupResource(), o)
	}
	return refused(a, admit.Complete(head, o, old))
}

// Validate implements admission.ValidationInterface.
func (r rules) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	o, old, ok := objects(a)
	if !ok {
		return nil
	}
	head := r.store.Head()
	if a.GetSubresource() != resize { // which changes nothing that pod security looks at
		err := secure(ctx, a, admit.Security(head, o, old))
		if err != nil || a.GetSubresource() == ephemeral {
			return err
		}
	}
	if err := admit.Check(head, o, old); err != nil {
		return refused(a, err)
	}
	if a.IsDryRun() { // what is not put passes no transaction
		return refused(a, admit.Fits(head, a.GetResource().GroupResource(), o, old))
	}
	return nil
}

// objects returns what the request writes and what stands, nil at creation. It
// reports false where neither is of concern: at subresources but those that change
// a pod's containers.
func objects(a admission.Attributes) (o, old store.Object, ok bool) {
	if s := a.GetSubresource(); s != "" && s != resize && s != ephemeral {
		return nil, nil, false
	}
	if o, ok = a.GetObject().(store.Object); !ok {
		return nil, nil, false
	}
	if was := a.GetOldObject(); was != nil {
		old, _ = was.(store.Object)
	}
	return o, old, true
}

// The subresources that change a pod's containers: one adds some, one changes what
// they may use.
const (
	ephemeral = "ephemeralcontainers"
	resize    = "resize"
)

// secure passes on what pod security says.
func secure(ctx context.Context, a admission.Attributes, v policy.Verdict) error {
	for _, w := range v.Warnings {
		warning.AddWarning(ctx, "", w)
	}
	for k, text := range v.Audit {
		audit.AddAuditAnnotation(ctx, k, text)
	}
	if kind.Is(v.Refusal, kind.Invalid) {
		return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), v.Refusal)
	}
	return refused(a, v.Refusal)
}

// refused says whose rules refuse the request.
func refused(a admission.Attributes, err error) error {
	if err == nil {
		return nil
	}
	return Refusal(err, a.GetResource().GroupResource(), a.GetObject().(store.Object))
}

// Refusal is what Kubernetes answers where a rule refuses o, an object of gr: 404
// of a namespace that does not exist, 403 of the object for the rest.
func Refusal(err error, gr schema.GroupResource, o store.Object) error {
	var e *kind.Error
	if !errors.As(err, &e) || (e.Kind != kind.Denied && e.Kind != kind.NotFound) {
		return err
	}
	if e.Kind == kind.NotFound {
		return apierrors.NewNotFound(corev1.Resource("namespaces"), o.GetNamespace())
	}
	name := o.GetName()
	if name == "" {
		name = o.GetGenerateName()
	}
	if e.Field != namespaceField {
		return apierrors.NewForbidden(gr, name, err)
	}
	f := apierrors.NewForbidden(gr, name, e.Err)
	f.ErrStatus.Details.Causes = append(f.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: "namespace " + o.GetNamespace() + " is being terminated", Field: e.Field,
	})
	return f
}

// namespaceField is the field that a refusal names whose fault is the namespace.
const namespaceField = "metadata.namespace"
