package auth

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// review is a question that is answered and not kept.
type review struct {
	singular   string
	namespaced bool
	make       func() runtime.Object
	answer     func(ctx context.Context, o runtime.Object) error
}

// New implements rest.Storage.
func (r *review) New() runtime.Object { return r.make() }

// Destroy implements rest.Storage.
func (r *review) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (r *review) NamespaceScoped() bool { return r.namespaced }

// GetSingularName implements rest.SingularNameProvider.
func (r *review) GetSingularName() string { return r.singular }

// Create implements rest.Creater.
func (r *review) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if validate != nil {
		if err := validate(ctx, o.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	return o, r.answer(ctx, o)
}

// AccessReviews returns the storage of every kind of group authorization.k8s.io.
func (a *Authorizer) AccessReviews() map[string]rest.Storage {
	return map[string]rest.Storage{
		"selfsubjectaccessreviews": &review{"selfsubjectaccessreview", false, object[authorizationv1.SelfSubjectAccessReview], a.selfAccess},
		"subjectaccessreviews":     &review{"subjectaccessreview", false, object[authorizationv1.SubjectAccessReview], a.access},
		"localsubjectaccessreviews": &review{
			"localsubjectaccessreview", true, object[authorizationv1.LocalSubjectAccessReview], a.localAccess,
		},
		"selfsubjectrulesreviews": &review{"selfsubjectrulesreview", false, object[authorizationv1.SelfSubjectRulesReview], a.selfRules},
	}
}

func object[T any, P interface {
	*T
	runtime.Object
}]() runtime.Object {
	return P(new(T))
}

func (a *Authorizer) selfAccess(ctx context.Context, o runtime.Object) error {
	r := o.(*authorizationv1.SelfSubjectAccessReview)
	who, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	if errs := validateQuestion(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes); len(errs) > 0 {
		return apierrors.NewInvalid(kindOf("SelfSubjectAccessReview"), "", errs)
	}
	r.Status = a.status(ctx, who, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return nil
}

func (a *Authorizer) access(ctx context.Context, o runtime.Object) error {
	r := o.(*authorizationv1.SubjectAccessReview)
	if errs := validateSpec(&r.Spec); len(errs) > 0 {
		return apierrors.NewInvalid(kindOf("SubjectAccessReview"), "", errs)
	}
	r.Status = a.status(ctx, asked(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return nil
}

func (a *Authorizer) localAccess(ctx context.Context, o runtime.Object) error {
	r := o.(*authorizationv1.LocalSubjectAccessReview)
	errs := validateSpec(&r.Spec)
	errs = append(errs, validateLocal(r, request.NamespaceValue(ctx))...)
	if len(errs) > 0 {
		return apierrors.NewInvalid(kindOf("LocalSubjectAccessReview"), "", errs)
	}
	r.Status = a.status(ctx, asked(&r.Spec), r.Spec.ResourceAttributes, nil)
	return nil
}

// asked returns the user that a review is about.
func asked(s *authorizationv1.SubjectAccessReviewSpec) user.Info {
	extra := map[string][]string{}
	for k, v := range s.Extra {
		extra[k] = v
	}
	return &user.DefaultInfo{Name: s.User, UID: s.UID, Groups: s.Groups, Extra: extra}
}

func (a *Authorizer) status(ctx context.Context, who user.Info, res *authorizationv1.ResourceAttributes, non *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	attr := authorizer.AttributesRecord{User: who}
	if res != nil {
		attr.ResourceRequest = true
		attr.Verb, attr.Namespace, attr.Name = res.Verb, res.Namespace, res.Name
		attr.APIGroup, attr.APIVersion, attr.Resource, attr.Subresource = res.Group, res.Version, res.Resource, res.Subresource
		attr.FieldSelectorRequirements, attr.FieldSelectorParsingErr = fieldRequirements(res.FieldSelector)
		attr.LabelSelectorRequirements, attr.LabelSelectorParsingErr = labelRequirements(res.LabelSelector)
	} else {
		attr.Verb, attr.Path = non.Verb, non.Path
	}
	decision, reason, err := a.Authorize(ctx, attr)
	status := authorizationv1.SubjectAccessReviewStatus{Allowed: decision == authorizer.DecisionAllow, Reason: reason}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}

func (a *Authorizer) selfRules(ctx context.Context, o runtime.Object) error {
	r := o.(*authorizationv1.SelfSubjectRulesReview)
	who, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	if r.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	r.Status = authorizationv1.SubjectRulesReviewStatus{
		ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{},
	}
	for _, rule := range a.rules(who, r.Spec.Namespace) {
		if len(rule.Resources) > 0 {
			r.Status.ResourceRules = append(r.Status.ResourceRules, authorizationv1.ResourceRule{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
			})
		}
		if len(rule.NonResourceURLs) > 0 {
			r.Status.NonResourceRules = append(r.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return nil
}

// SelfReview returns the storage of SelfSubjectReview: `kubectl auth whoami`.
func SelfReview() rest.Storage {
	return &review{"selfsubjectreview", false, object[authenticationv1.SelfSubjectReview], func(ctx context.Context, o runtime.Object) error {
		who, ok := request.UserFrom(ctx)
		if !ok {
			return apierrors.NewBadRequest("no user present on request")
		}
		o.(*authenticationv1.SelfSubjectReview).Status.UserInfo = userInfo(who)
		return nil
	}}
}

func userInfo(who user.Info) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups()}
	for k, v := range who.GetExtra() {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[k] = v
	}
	return info
}
