package kube

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// review is what the two self reviews have in common: a question that is
// answered and not kept.
type review struct {
	singular string
	make     func() runtime.Object
}

// New implements rest.Storage.
func (r *review) New() runtime.Object { return r.make() }

// Destroy implements rest.Storage.
func (r *review) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (r *review) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (r *review) GetSingularName() string { return r.singular }

// selfAccess answers whether the caller may do something: `kubectl auth can-i`.
type selfAccess struct{ review }

func newSelfAccess() *selfAccess {
	return &selfAccess{review{"selfsubjectaccessreview", func() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }}}
}

// Create implements rest.Creater.
func (s *selfAccess) Create(ctx context.Context, o runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	r := o.(*authorizationv1.SelfSubjectAccessReview)
	who, ok := request.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	a := authorizer.AttributesRecord{User: who}
	switch res, non := r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes; {
	case res != nil && non == nil:
		a.ResourceRequest = true
		a.Verb, a.Namespace, a.Name = res.Verb, res.Namespace, res.Name
		a.APIGroup, a.APIVersion, a.Resource, a.Subresource = res.Group, res.Version, res.Resource, res.Subresource
	case non != nil && res == nil:
		a.Verb, a.Path = non.Verb, non.Path
	default:
		return nil, apierrors.NewBadRequest("spec: exactly one of resourceAttributes and nonResourceAttributes must be set")
	}
	decision, reason, err := masters.Authorize(ctx, a)
	if err != nil {
		return nil, err
	}
	r.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: decision == authorizer.DecisionAllow, Reason: reason}
	return r, nil
}

// selfSubject answers who the caller is: `kubectl auth whoami`.
type selfSubject struct{ review }

func newSelfSubject() *selfSubject {
	return &selfSubject{review{"selfsubjectreview", func() runtime.Object { return &authenticationv1.SelfSubjectReview{} }}}
}

// Create implements rest.Creater.
func (s *selfSubject) Create(ctx context.Context, o runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	r := o.(*authenticationv1.SelfSubjectReview)
	who, ok := request.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	r.Status.UserInfo = authenticationv1.UserInfo{Username: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups()}
	return r, nil
}
