package auth

import (
	"context"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// MayDecide refuses to approve or sign a request for a certificate, unless the
// caller has the verb on the signer, or on all of its domain.
func (a *Authorizer) MayDecide(ctx context.Context, verb, name, signer string) error {
	who, ok := request.UserFrom(ctx)
	if !ok {
		return nil // the system itself
	}
	domain, _, _ := strings.Cut(signer, "/")
	for _, s := range []string{signer, domain + "/*"} {
		decision, _, _ := a.Authorize(ctx, authorizer.AttributesRecord{
			User: who, Verb: verb, Name: s, APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", ResourceRequest: true,
		})
		if decision == authorizer.DecisionAllow {
			return nil
		}
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}, name,
		fmt.Errorf("user not permitted to %s requests with signerName %q", verb, signer))
}
