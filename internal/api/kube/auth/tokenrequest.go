package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"trireme/internal/access"
	"trireme/internal/account"
	objectkey "trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// How long a token may be asked to last, in seconds.
const (
	tokenSecondsMin     = 600
	tokenSecondsMax     = 1 << 32
	tokenSecondsDefault = 3600
)

// TokenRequests returns the storage of serviceaccounts/token: `kubectl create
// token`.
func TokenRequests(i *account.Issuer, s *store.Store) rest.Storage { return &tokenStore{i, s} }

type tokenStore struct {
	issuer *account.Issuer
	store  *store.Store
}

// New implements rest.Storage.
func (*tokenStore) New() runtime.Object { return &authenticationv1.TokenRequest{} }

// Destroy implements rest.Storage.
func (*tokenStore) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (*tokenStore) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

// Create implements rest.NamedCreater.
func (t *tokenStore) Create(ctx context.Context, name string, o runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	r := o.(*authenticationv1.TokenRequest)
	namespace := request.NamespaceValue(ctx)
	if err := complete(r, namespace, name); err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, r.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	snap := t.store.Snapshot()
	sa, ok := tables.ServiceAccounts.Get(snap, objectkey.Key{Namespace: namespace, Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("serviceaccounts"), name)
	}
	bound := account.Bound{Namespace: namespace, Account: account.Ref{Name: name, UID: sa.UID}}
	if err := bind(snap, &bound, r.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	if who, ok := request.UserFrom(ctx); ok {
		if err := nodeMay(who, &bound); err != nil {
			return nil, err
		}
	}
	if len(r.Spec.Audiences) == 0 {
		r.Spec.Audiences = t.issuer.Audiences()
	}
	if opts != nil && slices.Contains(opts.DryRun, metav1.DryRunAll) {
		return r, nil
	}
	token, ends, err := t.issuer.Issue(bound, r.Spec.Audiences, time.Duration(*r.Spec.ExpirationSeconds)*time.Second)
	if err != nil {
		return nil, err
	}
	r.CreationTimestamp = metav1.Now()
	r.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(ends)}
	return r, nil
}

// complete defaults and checks a request.
func complete(r *authenticationv1.TokenRequest, namespace, name string) error {
	if r.Name == "" {
		r.Name = name
	}
	if r.Namespace == "" {
		r.Namespace = namespace
	}
	var errs field.ErrorList
	if r.Name != name {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), r.Name, "must match the service account name"))
	}
	if r.Namespace != namespace {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "namespace"), r.Namespace, "must match the service account namespace"))
	}
	seconds := int64(tokenSecondsDefault)
	if r.Spec.ExpirationSeconds == nil {
		r.Spec.ExpirationSeconds = &seconds
	}
	at := field.NewPath("spec", "expirationSeconds")
	switch n := *r.Spec.ExpirationSeconds; {
	case n < tokenSecondsMin:
		errs = append(errs, field.Invalid(at, n, "may not specify a duration less than 10 minutes"))
	case n > tokenSecondsMax:
		errs = append(errs, field.Invalid(at, n, "may not specify a duration larger than 2^32 seconds"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: authenticationv1.GroupName, Kind: "TokenRequest"}, name, errs)
	}
	return nil
}

// bind binds the token to the object that the request names.
func bind(r store.Reader, b *account.Bound, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	key := objectkey.Key{Namespace: b.Namespace, Name: ref.Name}
	switch ref.APIVersion + "/" + ref.Kind {
	case "v1/Pod":
		p, ok := tables.Pods.Get(r, key)
		if err := found(ok, p, ref, "pods"); err != nil {
			return err
		}
		if p.Spec.ServiceAccountName != b.Account.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", b.Account.Name))
		}
		b.Pod = &account.Ref{Name: p.Name, UID: p.UID}
		if n, ok := tables.Nodes.Get(r, objectkey.Key{Name: p.Spec.NodeName}); ok {
			b.Node = &account.Ref{Name: n.Name, UID: n.UID}
		}
	case "v1/Secret":
		s, ok := tables.Secrets.Get(r, key)
		if err := found(ok, s, ref, "secrets"); err != nil {
			return err
		}
		b.Secret = &account.Ref{Name: s.Name, UID: s.UID}
	case "v1/Node":
		n, ok := tables.Nodes.Get(r, objectkey.Key{Name: ref.Name})
		if err := found(ok, n, ref, "nodes"); err != nil {
			return err
		}
		b.Node = &account.Ref{Name: n.Name, UID: n.UID}
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s/%s: v1 Pod, Secret and Node are possible", ref.APIVersion, ref.Kind))
	}
	return nil
}

// found checks that the object is there, and is the one that is meant.
func found(ok bool, o metav1.Object, ref *authenticationv1.BoundObjectReference, resource string) error {
	if !ok {
		return apierrors.NewNotFound(corev1.Resource(resource), ref.Name)
	}
	if ref.UID != "" && o.GetUID() != types.UID(ref.UID) {
		return apierrors.NewConflict(corev1.Resource(resource), ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}

// nodeMay holds a node to tokens of its own pods.
func nodeMay(who user.Info, b *account.Bound) error {
	node, ok := strings.CutPrefix(who.GetName(), access.NodePrefix)
	if !ok || !slices.Contains(who.GetGroups(), access.Nodes) {
		return nil
	}
	if b.Pod == nil || b.Node == nil || b.Node.Name != node {
		return apierrors.NewForbidden(corev1.Resource("serviceaccounts"), b.Account.Name, fmt.Errorf("node %s may only ask for tokens that are bound to a pod of its own", node))
	}
	return nil
}
