package docker

import (
	"errors"
	"net/http"

	"github.com/moby/moby/api/types/common"

	"trireme/internal/api/docker/engine"
	"trireme/internal/api/docker/happen"
	"trireme/internal/api/docker/images"
	"trireme/internal/kind"
	"trireme/internal/object"
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

// engineRoutes are those of containers: their errors are an engine's own.
var engineRoutes = func() map[string]handler {
	all := map[string]handler{}
	for pattern, h := range engine.Routes() {
		all[pattern] = func(c *call) (any, error) {
			return engines(h(c.door.engine, c.engine()))
		}
	}
	return all
}()

// imageRoutes are those of images, whose errors are an engine's own too.
var imageRoutes = func() map[string]handler {
	all := map[string]handler{}
	for pattern, h := range images.Routes() {
		all[pattern] = func(c *call) (any, error) {
			return engines(h(c.door.images, c.images()))
		}
	}
	return all
}()

// images returns the request as the images' part of the door has it.
func (c *call) images() images.Request {
	return images.Request{
		Request: c.Request, Snap: c.snap, All: c.all, May: c.may, Who: c.rights.Who().Name, Out: c.out, Raw: c.raw, Typed: c.typed(), Custom: c.custom(),
	}
}

// engines returns what an engine's handler answers as a handler of the door does.
func engines(body any, err error) (any, error) {
	if err != nil {
		return nil, plain{err}
	}
	if a, ok := body.(engine.Answer); ok {
		return answer{a.Code, a.Body}, nil
	}
	return body, nil
}

// engine returns the request as the engine's part of the door has it.
func (c *call) engine() engine.Request {
	return engine.Request{
		Request: c.Request, Snap: c.snap, All: c.all, Sees: func(t happen.Table, key object.Key) bool { return c.sees(t, key) }, Network: c.networkFor,
		Exposed: func(image string) ([]string, error) { return c.door.images.Exposed(c.images(), image) },
		Out:     c.out, Raw: c.raw, Typed: c.typed(), Config: c.config(),
	}
}

// networkFor returns the network of a name or id, and opens it for pods of the namespace.
func (c *call) networkFor(target, namespace string) (object.Key, error) {
	n, err := c.findNetwork(target)
	if err != nil {
		return object.Key{}, err
	}
	return object.KeyOf(n), c.openNetwork(n, namespace)
}

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
func fromKubernetes(err error) error { return engine.FromKubernetes(err) }
