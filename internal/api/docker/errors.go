package docker

import (
	"errors"
	"net/http"

	"github.com/moby/moby/api/types/common"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"trireme/internal/kind"
)

// reply is how an error is answered: the status, and the gRPC code whose name docker's
// own managers write before the message; empty: they write none.
type reply struct {
	status int
	code   string
}

// replies is the door's table of errors (moby, errdefs and swarmkit's codes).
var replies = map[kind.Kind]reply{
	kind.Internal:        {http.StatusInternalServerError, "Internal"},
	kind.NotFound:        {http.StatusNotFound, ""},
	kind.Exists:          {http.StatusConflict, "AlreadyExists"},
	kind.Conflict:        {http.StatusInternalServerError, "Unknown"}, // clients look for these words, measured
	kind.Invalid:         {http.StatusBadRequest, "InvalidArgument"},
	kind.Malformed:       {http.StatusBadRequest, ""},
	kind.Denied:          {http.StatusForbidden, "PermissionDenied"},
	kind.Unauthenticated: {http.StatusUnauthorized, "Unauthenticated"},
	kind.Gone:            {http.StatusInternalServerError, "Unknown"},
	kind.Unavailable:     {http.StatusServiceUnavailable, "Unavailable"},
	kind.Exhausted:       {http.StatusForbidden, "ResourceExhausted"},
	kind.TooLarge:        {http.StatusBadRequest, "InvalidArgument"},
	kind.Timeout:         {http.StatusServiceUnavailable, "Unavailable"},
	kind.Unsupported:     {http.StatusNotImplemented, "Unimplemented"},
}

// plain is an error that docker's managers answer without the name of a code.
type plain struct{ error }

func (p plain) Unwrap() error { return p.error }

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	r := replies[kind.Of(err)]
	text := err.Error()
	if !errors.As(err, &plain{}) && r.code != "" {
		text = "rpc error: code = " + r.code + " desc = " + text
	}
	write(w, r.status, common.ErrorResponse{Message: text})
}

// fromKubernetes classifies what the Kubernetes door said.
func fromKubernetes(err error) error {
	var s apierrors.APIStatus
	if !errors.As(err, &s) {
		return err
	}
	message := s.Status().Message
	switch {
	case apierrors.IsNotFound(err):
		return kind.New(kind.NotFound, "%s", message)
	case apierrors.IsAlreadyExists(err):
		return kind.New(kind.Exists, "name conflicts with an existing object: %s", message)
	case apierrors.IsConflict(err):
		return kind.New(kind.Conflict, "update out of sequence")
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return kind.New(kind.Invalid, "%s", message)
	case apierrors.IsForbidden(err):
		return kind.New(kind.Denied, "%s", message)
	case apierrors.IsServiceUnavailable(err), apierrors.IsTooManyRequests(err), apierrors.IsTimeout(err):
		return kind.New(kind.Unavailable, "%s", message)
	}
	return kind.New(kind.Internal, "%s", message)
}
