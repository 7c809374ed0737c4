package kube

import (
	"context"
	"errors"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"trireme/internal/api/kube/status"
	"trireme/internal/object"
	"trireme/internal/policy"
	"trireme/internal/store"
)

// evictionStore serves pods/eviction: a deletion that a disruption budget may refuse.
type evictionStore struct{ s *store.Store }

// New implements rest.Storage.
func (s *evictionStore) New() runtime.Object { return &policyv1.Eviction{} }

// Destroy implements rest.Storage.
func (s *evictionStore) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (s *evictionStore) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// errDryRun undoes what a dry run has done.
var errDryRun = errors.New("dry run")

// Create implements rest.NamedCreater.
func (s *evictionStore) Create(ctx context.Context, name string, o runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	e := o.(*policyv1.Eviction)
	if e.Name != "" && e.Name != name {
		return nil, apierrors.NewBadRequest("metadata.name: the name in the URL does not match the name in the Eviction")
	}
	e.Name = name
	if validate != nil {
		if err := validate(ctx, e.DeepCopy()); err != nil {
			return nil, err
		}
	}
	ask := policy.Eviction{Pod: object.Key{Namespace: request.NamespaceValue(ctx), Name: name}}
	dry := len(opts.DryRun) > 0
	if d := e.DeleteOptions; d != nil {
		dry = dry || len(d.DryRun) > 0
		ask.GraceSeconds = d.GracePeriodSeconds
		if d.PropagationPolicy != nil {
			ask.Policy = *d.PropagationPolicy
		}
		if p := d.Preconditions; p != nil && p.UID != nil {
			ask.UID = string(*p.UID)
		}
		if p := d.Preconditions; p != nil && p.ResourceVersion != nil {
			ask.ResourceVersion = *p.ResourceVersion
		}
	}
	_, err := s.s.Update(ctx, func(tx *store.Tx) error {
		if err := policy.Evict(tx, ask); err != nil {
			return err
		}
		if dry {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return nil, evictionError(err)
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, nil
}

// retryEviction is after how many seconds a client may try again whose budget is still
// being looked at.
const retryEviction = 10

func evictionError(err error) error {
	var g *policy.Guarded
	if !errors.As(err, &g) {
		return status.Of(err)
	}
	out := apierrors.NewTooManyRequests(g.Error(), 0)
	if len(g.Why) > 0 {
		out.ErrStatus.Details.Causes = append(out.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: g.Why})
	}
	if g.Processing {
		out.ErrStatus.Details.RetryAfterSeconds = retryEviction
	}
	return out
}
