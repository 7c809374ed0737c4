package auth

import (
	"context"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/registry/rest"
)

// TokenReview returns the storage of TokenReview: whose token is this?
func (a *Authenticator) TokenReview() rest.Storage {
	return &review{"tokenreview", false, object[authenticationv1.TokenReview], a.review}
}

func (a *Authenticator) review(ctx context.Context, o runtime.Object) error {
	r := o.(*authenticationv1.TokenReview)
	if r.Namespace != "" {
		return apierrors.NewBadRequest("namespace is not allowed on this type")
	}
	if r.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	audiences := r.Spec.Audiences
	if len(audiences) == 0 {
		audiences = a.audiences
	}
	if len(audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, audiences)
	}
	resp, ok, err := a.tokens.AuthenticateToken(ctx, r.Spec.Token)
	r.Status = authenticationv1.TokenReviewStatus{Authenticated: ok && err == nil}
	if err != nil {
		r.Status.Error = err.Error()
	}
	if !r.Status.Authenticated {
		return nil
	}
	r.Status.User = userInfo(resp.User)
	for _, name := range resp.Audiences {
		if slices.Contains(audiences, name) {
			r.Status.Audiences = append(r.Status.Audiences, name)
		}
	}
	return nil
}
