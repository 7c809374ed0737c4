package marathon

import (
	"errors"
	"fmt"
	"net/http"

	"trireme/internal/api/caller"
	"trireme/internal/kind"
	"trireme/internal/object/marathon"
)

// message is the body of Marathon's errors.
type message struct {
	Message     string             `json:"message"`
	Details     []marathon.Problem `json:"details,omitempty"`
	Deployments []idOnly           `json:"deployments,omitempty"`
}

type idOnly struct {
	ID string `json:"id"`
}

// failure is an error that is answered as it is.
type failure struct {
	status int
	body   message
}

// Error implements error.
func (f failure) Error() string { return f.body.Message }

func missing(format string, args ...any) failure {
	return failure{http.StatusNotFound, message{Message: fmt.Sprintf(format, args...)}}
}

func noApp(id string) failure { return missing("App '%s' does not exist", id) }

// statuses is the door's table of errors.
var statuses = map[kind.Kind]int{
	kind.Internal: http.StatusInternalServerError, kind.NotFound: http.StatusNotFound, kind.Exists: http.StatusConflict,
	kind.Conflict: http.StatusConflict, kind.Invalid: http.StatusUnprocessableEntity, kind.Malformed: http.StatusBadRequest,
	kind.Denied: http.StatusForbidden, kind.Unauthenticated: http.StatusUnauthorized, kind.Gone: http.StatusInternalServerError,
	kind.Unavailable: http.StatusServiceUnavailable, kind.Exhausted: http.StatusForbidden, kind.TooLarge: http.StatusRequestEntityTooLarge,
	kind.Timeout: http.StatusServiceUnavailable, kind.Unsupported: http.StatusNotImplemented,
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	var f failure
	var bad marathon.Problems
	switch {
	case errors.As(err, &f):
		write(w, f.status, f.body)
	case errors.As(err, &bad):
		write(w, http.StatusUnprocessableEntity, message{Message: "Object is not valid", Details: bad})
	default:
		write(w, statuses[kind.Of(err)], message{Message: err.Error()})
	}
}

// fromKubernetes classifies what the Kubernetes door said.
func fromKubernetes(err error) error { return caller.FromKubernetes(err) }
