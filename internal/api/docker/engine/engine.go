package engine

import (
	"errors"
	"io"
	"log/slog"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"trireme/internal/api/docker/happen"
	"trireme/internal/api/docker/query"
	"trireme/internal/kind"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Request is one, as the door has it.
type Request struct {
	*http.Request
	Snap *store.Snapshot                     // the committed state at its beginning, as who asks may see it
	All  *store.Snapshot                     // the whole of it
	Sees func(happen.Table, object.Key) bool // whether who asks may see a row of a table
	// Network returns the network of a name or id, open for pods of the namespace.
	Network func(target, namespace string) (object.Key, error)
	// Exposed returns the ports that an image exposes; kind.NotFound: no node has it.
	Exposed func(image string) ([]string, error)
	Out     http.ResponseWriter
	Raw     io.Reader            // the body, without a bound
	Typed   kubernetes.Interface // calls the Kubernetes door as whoever asks
	Config  *rest.Config         // the same
}

// Answer is what a handler returns where it is not a 200 with a JSON body.
type Answer struct {
	Code int
	Body any // nil: none
}

// Streamed is returned by handlers that have written their answer.
var Streamed = Answer{}

// Config configures a Server; all is required.
type Config struct {
	Store *store.Store
	// Typed calls the Kubernetes door as the manager itself.
	Typed kubernetes.Interface
	// Describe says how a node is, in what events tell of.
	Describe func(*corev1.Node) map[string]string
	Log      *slog.Logger
}

// Server is the engine's part of the door.
type Server struct {
	store    *store.Store
	typed    kubernetes.Interface
	describe func(*corev1.Node) map[string]string
	log      *slog.Logger
	live
}

// New builds a Server; Run it.
func New(cfg Config) *Server {
	return &Server{store: cfg.Store, typed: cfg.Typed, describe: cfg.Describe, log: cfg.Log, live: newLive()}
}

// call is one request of this server.
type call struct {
	Request
	door *Server
}

type handler func(*call) (any, error)

// Routes returns the handlers by pattern (net/http.ServeMux), without a version.
func Routes() map[string]func(*Server, Request) (any, error) {
	all := map[string]func(*Server, Request) (any, error){}
	for _, part := range []map[string]handler{containerRoutes, execRoutes, attachRoutes, runRoutes, lifecycleRoutes, statsRoutes, archiveRoutes, eventRoutes} {
		for pattern, h := range part {
			all[pattern] = func(s *Server, r Request) (any, error) { return h(&call{r, s}) }
		}
	}
	return all
}

func (c *call) flag(name string) bool { return query.Flag(c.Request.Request, name) }
func (c *call) read(v any) error      { return query.Body(c.Request.Request, v) }

// filters are what a list is narrowed by.
type filters struct{ query.Set }

func (c *call) filters(allowed ...string) (filters, error) {
	f, err := query.Filters(c.Request.Request, allowed...)
	return filters{f}, err
}

// NodeIDs returns the ids of nodes by name.
func NodeIDs(r store.Reader) map[string]string {
	ids := map[string]string{}
	for n := range tables.Nodes.All(r) {
		ids[n.Name] = ours.ID(n.UID)
	}
	return ids
}

// FromKubernetes classifies what the Kubernetes door said.
func FromKubernetes(err error) error {
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
