package marathon

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/access"
	"trireme/internal/api/basic"
	"trireme/internal/api/caller"
	"trireme/internal/kind"
	"trireme/internal/store"
)

// Config configures the door. All is required but Log.
type Config struct {
	Listener net.Listener
	Auth     *basic.Auth
	// Address is where clients reach the leading manager: HOST:PORT.
	Address string
	Version string // the binary's own
	// Refusals yields of every node, in the order of names, why it does not take a pod; nothing: it would.
	Refusals func(store.Reader, *corev1.Pod) iter.Seq2[string, []string]
	Log      *slog.Logger
}

// Server is the Marathon door over one store.
type Server struct {
	cfg     Config
	store   *store.Store
	rules   *access.Checker
	callers *caller.Cache
	hub     *hub

	changing sync.Mutex // held while apps are changed
	last     time.Time  // of the last version given; guarded by changing
}

// New builds the door. It serves nothing until Run.
func New(s *store.Store, cfg Config) (*Server, error) {
	if cfg.Listener == nil || cfg.Auth == nil || cfg.Refusals == nil {
		return nil, kind.New(kind.Invalid, "marathon: Config is incomplete")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, store: s, rules: access.NewChecker(s), callers: caller.NewCache(), hub: newHub()}, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	web := &http.Server{
		Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 90 * time.Second,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug), BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(s.cfg.Listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the Marathon API on %s: %w", s.cfg.Listener.Addr(), err)
	case <-ctx.Done():
	}
	err := web.Close()
	if got := <-served; !errors.Is(got, http.ErrServerClosed) {
		err = errors.Join(err, got)
	}
	return errors.Join(ctx.Err(), err)
}
