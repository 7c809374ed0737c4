package kube

import (
	"errors"
	"net/http"
	"strings"

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
}

// statusError turns a classified error into an API status, and leaves any other
// as it is.
func statusError(err error) error {
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

// applyFaults begin what the library says of a patch that does not fit the
// schema. It gives these errors no type, and so no status of their own.
var applyFaults = []string{
	"failed to create typed patch object", "failed to convert new typed object", "failed to convert new object", "failed to convert to unversioned",
}

// applyError makes a server-side apply that the schema refuses the caller's
// fault; kube-apiserver answers 500.
func applyError(err error) error {
	var st apierrors.APIStatus
	if err == nil || errors.As(err, &st) {
		return err
	}
	for _, f := range applyFaults {
		if strings.HasPrefix(err.Error(), f) {
			return apierrors.NewBadRequest(err.Error())
		}
	}
	return err
}
