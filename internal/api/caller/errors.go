package caller

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"trireme/internal/kind"
)

// FromKubernetes classifies what the Kubernetes door said, in its words.
func FromKubernetes(err error) error {
	var s apierrors.APIStatus
	if !errors.As(err, &s) {
		return err
	}
	as := kind.Internal
	switch {
	case apierrors.IsNotFound(err):
		as = kind.NotFound
	case apierrors.IsAlreadyExists(err):
		as = kind.Exists
	case apierrors.IsConflict(err):
		as = kind.Conflict
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		as = kind.Invalid
	case apierrors.IsForbidden(err):
		as = kind.Denied
	case apierrors.IsServiceUnavailable(err), apierrors.IsTooManyRequests(err), apierrors.IsTimeout(err):
		as = kind.Unavailable
	}
	return kind.New(as, "%s", s.Status().Message)
}
