package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"trireme/internal/kind"
	"trireme/internal/store"
)

// Config configures the door. All of it but Log is required.
type Config struct {
	// Listener takes connections whose callers may do everything: a socket that only
	// root can open.
	Listener net.Listener
	// Client calls the Kubernetes door.
	Client *rest.Config
	Node   string // this machine's, as Nodes are named
	Root   string // where the process keeps its state
	// Version is the binary's own.
	Version string
	// CAPEM is the cluster's authority.
	CAPEM []byte
	Log   *slog.Logger
}

// Server is the Docker door over one store.
type Server struct {
	cfg    Config
	store  *store.Store
	typed  kubernetes.Interface
	custom dynamic.Interface
	web    *http.Server
}

// New builds the door. It serves nothing until Run.
func New(s *store.Store, cfg Config) (*Server, error) {
	if cfg.Listener == nil || cfg.Client == nil {
		return nil, kind.New(kind.Invalid, "docker: Config is incomplete")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	srv := &Server{cfg: cfg, store: s}
	var err error
	if srv.typed, err = kubernetes.NewForConfig(cfg.Client); err != nil {
		return nil, err
	}
	own := rest.CopyConfig(cfg.Client)
	own.ContentType, own.AcceptContentTypes = "application/json", "application/json"
	if srv.custom, err = dynamic.NewForConfig(own); err != nil {
		return nil, err
	}
	srv.web = &http.Server{Handler: srv.routes(), ReadHeaderTimeout: 30 * time.Second, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)}
	return srv, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	s.web.BaseContext = func(net.Listener) context.Context { return ctx }
	served := make(chan error, 1)
	go func() { served <- s.web.Serve(s.cfg.Listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the Docker API: %w", err)
	case <-ctx.Done():
	}
	err := s.web.Close()
	if got := <-served; !errors.Is(got, http.ErrServerClosed) {
		err = errors.Join(err, got)
	}
	return errors.Join(ctx.Err(), err)
}
