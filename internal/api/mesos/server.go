package mesos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/internal/access"
	"trireme/internal/api/basic"
	"trireme/internal/kind"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/store"
)

// Times of streams.
const (
	heartbeat    = 15 * time.Second // (Mesos, DEFAULT_HEARTBEAT_INTERVAL)
	patience     = 30 * time.Second // that a reader has for one event
	retryMin     = 10 * time.Second // before an update is sent again (Mesos, STATUS_UPDATE_RETRY_INTERVAL_MIN)
	retryMax     = 10 * time.Minute
	reconnectMin = 2 * time.Minute // that frameworks have at least to come back to a manager that has just begun
)

// Config configures the door. Listener, Auth, Master and Operator are required.
type Config struct {
	Listener net.Listener
	Auth     basic.Auth
	// Master is this manager, which leads.
	Master func() *mesosv1.MasterInfo
	// Operator answers what is not the scheduler API.
	Operator http.Handler
	// ToExecutor sends a framework's message to its executor on an agent; nil: there are none
	// that take any.
	ToExecutor func(agent, framework, executor string, data []byte)
	Log        *slog.Logger
}

// Server is the Mesos door over one store.
type Server struct {
	cfg    Config
	store  *store.Store
	rules  *access.Checker
	writer *writer
	web    *http.Server
	read   sync.Map // of the framework's id to known

	mu      sync.Mutex
	streams map[string]*stream // by the framework's id
}

// New builds the door. It serves nothing until Run.
func New(s *store.Store, cfg Config) (*Server, error) {
	if cfg.Listener == nil || cfg.Auth.Identify == nil || cfg.Master == nil || cfg.Operator == nil {
		return nil, kind.New(kind.Invalid, "mesos: Config is incomplete")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	srv := &Server{cfg: cfg, store: s, rules: access.NewChecker(s), writer: newWriter(s, cfg.Log), streams: map[string]*stream{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/scheduler", srv.scheduler)
	mux.HandleFunc("/master/api/v1/scheduler", srv.scheduler)
	mux.Handle("/", cfg.Operator)
	srv.web = &http.Server{
		Handler: mux, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute,
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return srv, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	snap := s.store.Snapshot() // nobody has subscribed yet
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.writer.run(ctx) })
	g.Go(func() error { return s.follow(ctx, snap) })
	g.Go(func() error { return s.serve(ctx) })
	return g.Wait()
}

func (s *Server) serve(ctx context.Context) error {
	s.web.BaseContext = func(net.Listener) context.Context { return ctx }
	served := make(chan error, 1)
	go func() { served <- s.web.Serve(s.cfg.Listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the Mesos API on %s: %w", s.cfg.Listener.Addr(), err)
	case <-ctx.Done():
	}
	err := s.web.Close()
	if got := <-served; !errors.Is(got, http.ErrServerClosed) {
		err = errors.Join(err, got)
	}
	return errors.Join(ctx.Err(), err)
}

// Addr returns where the door is.
func (s *Server) Addr() net.Addr { return s.cfg.Listener.Addr() }
