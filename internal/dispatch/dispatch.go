package dispatch

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"trireme/internal/account"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// Config configures a Dispatcher. PKI, Token, Certificate and Log are required.
type Config struct {
	PKI         *wire.PKI
	Token       func() wire.Token // what machines join with now
	Certificate tls.Certificate   // a manager's, to serve with
	TLS         *tls.Config       // what it serves with; nil: with Certificate
	Accounts    *account.Issuer   // signs the tokens of pods; nil: pods get none
	// Audience reports whether a node may have tokens of a service account for an audience
	// that no pod of it asks for; nil: it may not.
	Audience func(node string, account object.Key, audience string) bool
	// Allow says who asks a node, and whether they may; nil: nobody may.
	Allow func(context.Context, *wire.AllowRequest) (*wire.AllowResponse, error)
	// Managers is who leads and who else may; nil: this manager is alone.
	Managers  Managers
	Registry  Registry      // the images that users gave to the cluster; nil: none
	Overlay   string        // object.OverlayEncrypted or Clear, for all nodes; empty: they go on as before
	Heartbeat time.Duration // how often agents say something; 0: 5 s, or a third of Grace
	Grace     time.Duration // how long a node may be away before it is Unknown; 0: 15 s
	Log       *slog.Logger
	Now       func() time.Time // 0: time.Now
}

// Managers is the managers of the cluster, as the one that leads knows them.
type Managers interface {
	// Admit makes who shows the right secret a manager.
	Admit(context.Context, *wire.ManagerRequest) (*wire.ManagerResponse, error)
	// Agents returns where agents reach the managers, HOST:PORT, in an order that stays.
	Agents() []string
	// Hosts returns the names and addresses of the managers' machines.
	Hosts() []string
}

// Dispatcher serves agents for one term of leading.
type Dispatcher struct {
	cfg     Config
	store   *store.Store
	reports reports
	work    sync.WaitGroup // the sessions' receivers

	mu       sync.Mutex
	sessions map[string]*session
	lost     map[string]time.Time // nodes without a session, and since when
	started  time.Time
	crowd    crowd
	refs     map[item]map[*session]struct{} // who needs an object that pods refer to
	wants    map[store.TableID]map[*session]struct{}
	own      map[*tables.PodHead]struct{} // rows that report a session's own words
	managers []string                     // that sessions were told of
}

// New returns a dispatcher that is not running yet.
func New(s *store.Store, cfg Config) (*Dispatcher, error) {
	if s == nil || cfg.PKI == nil || cfg.Log == nil || len(cfg.Certificate.Certificate) == 0 || cfg.Token == nil {
		return nil, kind.New(kind.Invalid, "dispatch: Config lacks a required field")
	}
	if cfg.TLS == nil {
		cfg.TLS = wire.ServerTLS(cfg.Certificate, cfg.PKI.Pool(), false)
	}
	if cfg.Grace == 0 {
		cfg.Grace = 15 * time.Second
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = min(5*time.Second, cfg.Grace/3)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Dispatcher{
		cfg: cfg, store: s, reports: newReports(), sessions: map[string]*session{}, lost: map[string]time.Time{},
		started: cfg.Now(), refs: map[item]map[*session]struct{}{},
		wants: map[store.TableID]map[*session]struct{}{}, own: map[*tables.PodHead]struct{}{},
	}, nil
}

// Run serves agents on l until ctx ends or the store is dead. It closes l.
func (d *Dispatcher) Run(ctx context.Context, l net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(d.cfg.TLS)),
		grpc.MaxRecvMsgSize(wire.MessageBytesMax), grpc.MaxSendMsgSize(wire.MessageBytesMax),
		grpc.ReadBufferSize(4<<10), grpc.MaxConcurrentStreams(16), grpc.WaitForHandlers(true),
		grpc.InitialWindowSize(wire.WindowBytes), grpc.InitialConnWindowSize(wire.WindowBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	wire.RegisterAgentsServer(server, &service{d: d})
	for _, t := range carried {
		g.Go(func() error { return d.pump(ctx, t) })
	}
	g.Go(func() error { return d.apply(ctx) })
	g.Go(func() error { return d.watchNodes(ctx) })
	g.Go(func() error {
		if err := server.Serve(l); err != nil {
			return fmt.Errorf("serving agents: %w", err)
		}
		return ctx.Err()
	})
	<-ctx.Done()
	server.Stop()
	d.work.Wait()
	return g.Wait()
}

// told returns which managers agents are told of.
func (d *Dispatcher) told() []string {
	if d.cfg.Managers == nil {
		return nil
	}
	return d.cfg.Managers.Agents()
}

// tellManagers tells all agents which managers there are, where that has changed.
func (d *Dispatcher) tellManagers() {
	now := d.told()
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Equal(now, d.managers) {
		return
	}
	d.managers = now
	for _, s := range d.sessions {
		s.mu.Lock()
		s.managers = now
		s.mu.Unlock()
		s.signal()
	}
}

// Sessions returns how many nodes are connected.
func (d *Dispatcher) Sessions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sessions)
}

// enter makes s the node's session; an older one ends.
func (d *Dispatcher) enter(s *session) {
	d.mu.Lock()
	old := d.sessions[s.node]
	d.sessions[s.node] = s
	delete(d.lost, s.node)
	for _, t := range s.wants {
		add(d.wants, t, s)
	}
	d.mu.Unlock()
	if old != nil {
		old.cancel(kind.New(kind.Conflict, "node %s opened a newer session", s.node))
	}
}

// leave takes s out. The node counts as away since it was last heard.
func (d *Dispatcher) leave(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions[s.node] == s {
		delete(d.sessions, s.node)
		d.lost[s.node] = s.seen()
	}
	for _, t := range s.wants {
		remove(d.wants, t, s)
	}
	for i := range s.refs {
		remove(d.refs, i, s)
	}
}

func add[K comparable](m map[K]map[*session]struct{}, k K, s *session) {
	if m[k] == nil {
		m[k] = map[*session]struct{}{}
	}
	m[k][s] = struct{}{}
}

func remove[K comparable](m map[K]map[*session]struct{}, k K, s *session) {
	delete(m[k], s)
	if len(m[k]) == 0 {
		delete(m, k)
	}
}
