package docker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/access"
	"trireme/internal/api/caller"
	"trireme/internal/api/docker/engine"
	"trireme/internal/api/docker/images"
	"trireme/internal/kind"
	"trireme/internal/store"
)

// Config configures the door. One of Listener and TLS is required, with what belongs to
// it; Log is not, all else is.
type Config struct {
	// Owner may do everything: what goes on beside requests is done as the owner.
	Owner Caller
	// Listener takes connections of the Owner: a socket that only root can open.
	Listener net.Listener
	// TLS takes connections of those that Identify knows, by their certificates or tokens.
	TLS      net.Listener
	Secure   *tls.Config
	Identify func(*http.Request) (Caller, error)

	Node string // this machine's, as Nodes are named
	Root string // where the process keeps its state
	// Version is the binary's own.
	Version string
	// CAPEM is the cluster's authority.
	CAPEM []byte
	// Token and ManagerToken let machines join, as nodes and as managers, by way of the port
	// JoinPort.
	Token, ManagerToken JoinToken
	JoinPort            string
	// Heartbeat is how often nodes say that they are there.
	Heartbeat time.Duration
	Log       *slog.Logger
}

// Server is the Docker door over one store.
type Server struct {
	cfg     Config
	store   *store.Store
	rules   *access.Checker
	callers *caller.Cache
	fronts  []server
	engine  *engine.Server
	images  *images.Server
}

// server answers on one listener.
type server struct {
	web *http.Server
	on  net.Listener
}

// New builds the door. It serves nothing until Run.
func New(s *store.Store, cfg Config) (*Server, error) {
	if cfg.Listener == nil && cfg.TLS == nil || cfg.Owner.Client == nil || cfg.TLS != nil && (cfg.Secure == nil || cfg.Identify == nil) {
		return nil, kind.New(kind.Invalid, "docker: Config is incomplete")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	srv := &Server{cfg: cfg, store: s, rules: access.NewChecker(s), callers: caller.NewCache(), images: images.New(cfg.Node)}
	own, err := srv.clients(cfg.Owner)
	if err != nil {
		return nil, err
	}
	srv.engine = engine.New(engine.Config{Store: s, Typed: own.Typed, Log: cfg.Log, Describe: func(n *corev1.Node) map[string]string {
		as := (&call{door: srv}).node(n)
		return map[string]string{
			"state": string(as.Status.State), "availability": string(as.Spec.Availability), "role": string(as.Spec.Role),
			"leader": strconv.FormatBool(as.ManagerStatus != nil && as.ManagerStatus.Leader),
		}
	}})
	routes := srv.routes()
	if cfg.Listener != nil {
		srv.listen(cfg.Listener, known(func(*http.Request) (Caller, error) { return cfg.Owner, nil }, routes))
	}
	if cfg.TLS != nil {
		conf := cfg.Secure.Clone()
		conf.NextProtos = []string{"http/1.1"} // streams take the connection over
		srv.listen(tls.NewListener(cfg.TLS, conf), known(cfg.Identify, routes))
	}
	return srv, nil
}

func (s *Server) listen(on net.Listener, h http.Handler) {
	web := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 90 * time.Second, ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)}
	s.fronts = append(s.fronts, server{web, on})
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		s.engine.Run(ctx)
		return ctx.Err()
	})
	for _, one := range s.fronts {
		g.Go(func() error { return one.run(ctx) })
	}
	return g.Wait()
}

func (s server) run(ctx context.Context) error {
	s.web.BaseContext = func(net.Listener) context.Context { return ctx }
	served := make(chan error, 1)
	go func() { served <- s.web.Serve(s.on) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the Docker API on %s: %w", s.on.Addr(), err)
	case <-ctx.Done():
	}
	err := s.web.Close()
	if got := <-served; !errors.Is(got, http.ErrServerClosed) {
		err = errors.Join(err, got)
	}
	return errors.Join(ctx.Err(), err)
}
