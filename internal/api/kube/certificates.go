package kube

import (
	"context"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"trireme/internal/admit"
	"trireme/internal/store"
)

// signing serves requests for certificates: who asks is who asked, who approves
// or signs needs the right to (Kubernetes, "Certificates and Certificate Signing
// Requests").
func (s *Server) signing(r resource, st *genericregistry.Store, out map[string]rest.Storage) {
	base := newStrategy(s.scheme, r)
	st.CreateStrategy, st.UpdateStrategy = askingStrategy{base}, askingStrategy{base}
	decided := func(verb string, strategy rest.RESTUpdateStrategy) *decisionStore {
		c := *st
		c.UpdateStrategy = strategy
		c.ResetFieldsStrategy = statusStrategy{base}
		return &decisionStore{statusStore{&c}, s, verb}
	}
	out[r.plural+"/approval"] = decided("approve", approvalStrategy{base})
	out[r.plural+"/status"] = decided("sign", issuedStrategy{base})
}

type csr = certificatesv1.CertificateSigningRequest

// askingStrategy is for the request itself, which nobody changes.
type askingStrategy struct{ strategy }

func (s askingStrategy) PrepareForCreate(ctx context.Context, o runtime.Object) {
	s.strategy.PrepareForCreate(ctx, o)
	r := o.(*csr)
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
	if who, ok := request.UserFrom(ctx); ok {
		r.Spec.Username, r.Spec.UID, r.Spec.Groups = who.GetName(), who.GetUID(), who.GetGroups()
		for k, v := range who.GetExtra() {
			if r.Spec.Extra == nil {
				r.Spec.Extra = map[string]certificatesv1.ExtraValue{}
			}
			r.Spec.Extra[k] = v
		}
	}
}

func (s askingStrategy) PrepareForUpdate(ctx context.Context, o, old runtime.Object) {
	o.(*csr).Spec = old.(*csr).Spec
	s.strategy.PrepareForUpdate(ctx, o, old)
}

// approvalStrategy is for who says yes or no.
type approvalStrategy struct{ strategy }

func (s approvalStrategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	next, was := o.(*csr), old.(*csr)
	admit.PrepareStatus(next, was)
	next.Status.Certificate = was.Status.Certificate
	next.Status.Conditions = merged(next.Status.Conditions, was.Status.Conditions, certificatesv1.CertificateFailed)
}

func (s approvalStrategy) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return append(admit.ValidateStatus(o.(store.Object)), admit.ValidateSigning(o.(*csr), old.(*csr))...)
}

// issuedStrategy is for who signs, or says that he cannot.
type issuedStrategy struct{ strategy }

func (s issuedStrategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	next, was := o.(*csr), old.(*csr)
	admit.PrepareStatus(next, was)
	next.Status.Conditions = merged(next.Status.Conditions, was.Status.Conditions, certificatesv1.CertificateApproved, certificatesv1.CertificateDenied)
}

func (s issuedStrategy) ValidateUpdate(ctx context.Context, o, old runtime.Object) field.ErrorList {
	return approvalStrategy(s).ValidateUpdate(ctx, o, old)
}

// merged returns next with the conditions of the given types as they were, and
// with times where they are missing.
func merged(next, old []certificatesv1.CertificateSigningRequestCondition, keep ...certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	kept := func(c certificatesv1.CertificateSigningRequestCondition) bool { return slices.Contains(keep, c.Type) }
	var out, left []certificatesv1.CertificateSigningRequestCondition
	for _, c := range old {
		if kept(c) {
			left = append(left, c)
		}
	}
	for _, c := range next { // in the writer's order
		if kept(c) {
			i := slices.IndexFunc(left, func(o certificatesv1.CertificateSigningRequestCondition) bool { return o.Type == c.Type })
			if i < 0 {
				continue
			}
			c = left[i]
			left = slices.Delete(left, i, i+1)
		}
		out = append(out, c)
	}
	out = append(out, left...)
	now := metav1.Now()
	for i := range out {
		c := &out[i]
		if c.Status == "" {
			c.Status = corev1.ConditionTrue
		}
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if c.LastTransitionTime.IsZero() {
			c.LastTransitionTime = now
		}
	}
	return out
}

// decisionStore is a status that only those may write who have a right on the
// request's signer.
type decisionStore struct {
	statusStore
	server *Server
	verb   string
}

// Update implements rest.Updater.
func (s *decisionStore) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, opts *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return s.statusStore.Update(ctx, name, info, create, func(ctx context.Context, o, old runtime.Object) error {
		if next, was := o.(*csr), old.(*csr); !equality.Semantic.DeepEqual(next.Status, was.Status) {
			if err := s.server.auth.MayDecide(ctx, s.verb, was.Name, was.Spec.SignerName); err != nil {
				return err
			}
		}
		return update(ctx, o, old)
	}, force, opts)
}
