// Package status is the Kubernetes door's error table.
package status

import (
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
)

// statuses is this door's error table: the code and reason Kubernetes gives for
// each kind (API conventions, "HTTP Status codes").
var statuses = map[kind.Kind]struct {
	code   int32
	reason metav1.StatusReason
}{
	kind.Internal:        {http.StatusInternalServerError, metav1.StatusReasonInternalError},
	kind.NotFound:        {http.StatusNotFound, metav1.StatusReasonNotFound},
	kind.Exists:          {http.StatusConflict, metav1.StatusReasonAlreadyExists},
	kind.Conflict:        {http.StatusConflict, metav1.StatusReasonConflict},
	kind.Invalid:         {http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
	kind.Malformed:       {http.StatusBadRequest, metav1.StatusReasonBadRequest},
	kind.Denied:          {http.StatusForbidden, metav1.StatusReasonForbidden},
	kind.Unauthenticated: {http.StatusUnauthorized, metav1.StatusReasonUnauthorized},
	kind.Gone:            {http.StatusGone, metav1.StatusReasonExpired},
	kind.Unavailable:     {http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable},
	kind.Exhausted:       {http.StatusForbidden, metav1.StatusReasonForbidden},
	kind.TooLarge:        {http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge},
	kind.Timeout:         {http.StatusGatewayTimeout, metav1.StatusReasonTimeout},
	kind.Unsupported:     {http.StatusNotImplemented, metav1.StatusReason("NotImplemented")},
}

// Of turns a classified error into an API status, and leaves any other as it is.
func Of(err error) error {
	var e *kind.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	s := statuses[e.Kind]
	st := metav1.Status{Status: metav1.StatusFailure, Code: s.code, Reason: s.reason, Message: err.Error()}
	if e.Field != "" {
		cause := err.Error()
		if e.Err != nil {
			cause = e.Err.Error() // clients put the field before it
		}
		st.Details = &metav1.StatusDetails{Name: e.Object, Causes: []metav1.StatusCause{{
			Type: metav1.CauseTypeFieldValueInvalid, Field: e.Field, Message: cause,
		}}}
	}
	return &apierrors.StatusError{ErrStatus: st}
}
