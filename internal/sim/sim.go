package sim

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/kind"
	"trireme/internal/wire"
)

// Config configures Run. Count, Manager and Token are required.
type Config struct {
	Count      int
	StartDelay time.Duration // from a pod's coming to its running
	Manager    string        // host:port of the manager's agent listener
	Token      wire.Token
	Prefix     string // of the nodes' names; empty: "hollow-"
	CPU        string // each node's CPUs; empty: 32
	Memory     string // each node's memory; empty: 128Gi
	Pods       int    // most pods a node takes; 0: 110
	Log        *slog.Logger
	// Progress is called about once a second where something changed, with how
	// many nodes are connected and how many pods run. nil: nobody is told.
	Progress func(connected, running int)
}

// joinsAtOnce bounds the joins in flight: each makes keys on both sides.
const joinsAtOnce = 16

// fleet is what the nodes of one Run share.
type fleet struct {
	cfg     Config
	cpu     resource.Quantity
	memory  resource.Quantity
	running atomic.Int64

	mu    sync.Mutex
	nodes []*node // joined
}

// Run attaches the nodes and keeps them until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	f, err := newFleet(cfg)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.progress(ctx) })
	g.Go(func() error {
		return f.join(ctx, func(n *node) {
			g.Go(func() error { return n.client.Run(ctx) })
		})
	})
	return g.Wait()
}

func newFleet(cfg Config) (*fleet, error) {
	if cfg.Count < 1 || cfg.Manager == "" || cfg.Token.Secret == "" {
		return nil, kind.New(kind.Invalid, "sim: Config lacks a required field")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "hollow-"
	}
	if cfg.CPU == "" {
		cfg.CPU = "32"
	}
	if cfg.Memory == "" {
		cfg.Memory = "128Gi"
	}
	if cfg.Pods == 0 {
		cfg.Pods = 110
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &fleet{cfg: cfg}
	var err error
	if f.cpu, err = resource.ParseQuantity(cfg.CPU); err != nil {
		return nil, &kind.Error{Kind: kind.Invalid, Field: "cpus", Err: err}
	}
	if f.memory, err = resource.ParseQuantity(cfg.Memory); err != nil {
		return nil, &kind.Error{Kind: kind.Invalid, Field: "memory", Err: err}
	}
	return f, nil
}

// connected returns how many nodes have a session.
func (f *fleet) connected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	connected := 0
	for _, n := range f.nodes {
		if n.client.Connected() {
			connected++
		}
	}
	return connected
}

// join gets every node its certificate and runs it.
func (f *fleet) join(ctx context.Context, run func(*node)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(joinsAtOnce)
	for i := range f.cfg.Count {
		g.Go(func() error {
			n, err := f.newNode(ctx, i)
			if err != nil {
				return fmt.Errorf("node %s%d: %w", f.cfg.Prefix, i, err)
			}
			f.mu.Lock()
			f.nodes = append(f.nodes, n)
			f.mu.Unlock()
			run(n)
			return nil
		})
	}
	return g.Wait()
}

func (f *fleet) progress(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	before := [2]int{-1, -1}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := [2]int{f.connected(), int(f.running.Load())}
		if f.cfg.Progress != nil && now != before {
			f.cfg.Progress(now[0], now[1])
			before = now
		}
	}
}
