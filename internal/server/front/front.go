package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/internal/kind"
)

// Config configures a Front. All but Log is required where there is a Relay.
type Config struct {
	// Relay is where this manager takes what others pass on; nil: it is alone.
	Relay net.Listener
	// Server and Client are what this manager shows to others; both let in, and trust, managers
	// alone.
	Server, Client *tls.Config
	Log            *slog.Logger
}

// How long things may take.
const (
	patience   = 15 * time.Second // for who knocks while nobody leads
	dialMax    = 2 * time.Second
	helloMax   = 5 * time.Second
	againAfter = 100 * time.Millisecond
)

// Front keeps the doors. Its methods may be called from any goroutine.
type Front struct {
	cfg   Config
	doors map[string]net.Listener

	mu      sync.Mutex
	now     state
	changed chan struct{} // closed when now is another
}

// state is who serves who knocks.
type state struct {
	term   *Term           // this manager does
	leader string          // or another, at this address; empty too: nobody
	over   context.Context // ends with the state
	end    context.CancelFunc
}

// New returns a Front without doors.
func New(cfg Config) (*Front, error) {
	if cfg.Relay != nil && (cfg.Server == nil || cfg.Client == nil) {
		return nil, kind.New(kind.Invalid, "front: Config lacks what managers show to each other")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Front{cfg: cfg, doors: map[string]net.Listener{}, changed: make(chan struct{})}
	f.now.over, f.now.end = context.WithCancel(context.Background())
	return f, nil
}

// Keep adds a door, which is closed when Run ends. Call it before Run.
func (f *Front) Keep(door string, l net.Listener) { f.doors[door] = l }

// Run lets in who knocks until ctx ends.
func (f *Front) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	accept := func(l net.Listener, serve func(context.Context, net.Conn)) {
		g.Go(func() error {
			for {
				c, err := l.Accept()
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if temporary(err) {
					select {
					case <-time.After(againAfter): // as when there are no more descriptors: others close some
					case <-ctx.Done():
					}
					continue
				}
				if err != nil {
					return fmt.Errorf("listening on %s: %w", l.Addr(), err)
				}
				go serve(ctx, c)
			}
		})
		g.Go(func() error {
			<-ctx.Done()
			return errors.Join(ctx.Err(), l.Close())
		})
	}
	for door, l := range f.doors {
		accept(l, func(ctx context.Context, c net.Conn) { f.serve(ctx, door, c) })
	}
	if f.cfg.Relay != nil {
		accept(f.cfg.Relay, f.take)
	}
	g.Go(func() error {
		<-ctx.Done()
		f.set(state{})
		return ctx.Err()
	})
	return g.Wait()
}

func temporary(err error) bool {
	var e interface{ Temporary() bool }
	return errors.As(err, &e) && e.Temporary()
}

// Lead says that this manager leads now: who knocks is served by who listens at the term's doors.
// leads says whether it still does, and waits until that is known; false once the channel is closed.
func (f *Front) Lead(leads func(over <-chan struct{}) bool) *Term {
	t := &Term{front: f, leads: leads, halls: map[string]*hall{}, guests: map[*guest]struct{}{}, over: make(chan struct{})}
	for door, l := range f.doors {
		t.halls[door] = &hall{term: t, addr: l.Addr(), conns: make(chan net.Conn), over: make(chan struct{})}
	}
	f.set(state{term: t})
	return t
}

// Follow says that the manager at the address leads now, HOST:PORT; empty: nobody does.
func (f *Front) Follow(leader string) {
	f.mu.Lock()
	same := f.now.term == nil && f.now.leader == leader
	f.mu.Unlock()
	if !same {
		f.set(state{leader: leader})
	}
}

func (f *Front) set(s state) {
	s.over, s.end = context.WithCancel(context.Background())
	f.mu.Lock()
	old := f.now
	f.now = s
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	old.end()
}

func (f *Front) state() (state, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, f.changed
}

// enter hands the connection to who serves at the hall; false: nobody does any more, or ctx has ended.
func (h *hall) enter(ctx context.Context, c net.Conn) bool {
	if h == nil {
		return false
	}
	select {
	case h.conns <- c:
		return true
	case <-h.over:
	case <-ctx.Done():
	}
	return false
}

// serve finds somebody who serves the connection, or closes it.
func (f *Front) serve(ctx context.Context, door string, c net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for ctx.Err() == nil {
		now, changed := f.state()
		switch {
		case now.term != nil:
			if now.term.halls[door].enter(ctx, c) {
				return
			}
		case now.leader != "":
			to, err := f.pass(ctx, now.leader, door, c)
			if err == nil {
				cancel()
				splice(now.over, c, to)
				return
			}
			f.cfg.Log.Debug("passing a connection on", "door", door, "leader", now.leader, "err", err)
		}
		select {
		case <-changed:
		case <-time.After(againAfter):
		case <-ctx.Done():
		}
	}
	c.Close()
}
