package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/object"
)

// Item is one assignment, decoded. Object is nil where Deleted.
type Item struct {
	Table   string // "pods", "secrets"…: those that NewMessage knows
	Key     object.Key
	Object  runtime.Object // a pointer to the API type of the table
	Deleted bool
}

// PodReport is what an agent reports of one pod.
type PodReport struct {
	Key    object.Key
	UID    types.UID
	Status *corev1.PodStatus // addresses and PodScheduled are ignored; may be nil with Gone
	Gone   bool              // nothing of the pod is left on the node
}

// ClientConfig configures a Client. All but Wants is required.
type ClientConfig struct {
	Managers []string            // host:port of managers, tried in turn, after those that managers told of
	TLS      func() *tls.Config  // asked at each dial
	Node     func() *corev1.Node // name, labels, status for the hello; asked at each dial
	Wants    []string            // tables wanted whole, beside the node's pods and what these refer to
	// Assign takes assignments, one call at a time, in order. With full, whatever
	// is not in items is gone. An error ends the session; the next starts full.
	Assign func(ctx context.Context, full bool, items []Item) error
	// Message takes what a framework says to an executor of this node; may be nil.
	Message func(*ExecutorMessage)
	// Learn takes which managers there are now, host:port; may be nil.
	Learn func([]string)
	Log   *slog.Logger
}

// The pace of a client. A new leader waits one grace period (15 s) for everybody
// before it calls a node away: the longest wait is shorter.
const (
	backoffMin       = 100 * time.Millisecond
	backoffMax       = 2 * time.Second // a link that is mended carries traffic 5 s later
	batchDelay       = 3 * time.Millisecond
	batchPodsMax     = 500
	eventsMax        = 1000
	defaultHeartbeat = 5 * time.Second
)

// Client keeps an agent's session with a manager. Its Report methods may be
// called from any goroutine and never block.
type Client struct {
	cfg       ClientConfig
	connected atomic.Bool
	manager   atomic.Pointer[grpc.ClientConn] // of the open session; nil: none
	heartbeat atomic.Int64                    // nanoseconds
	wake      chan struct{}

	mu         sync.Mutex
	managers   []string // to try
	synced     bool     // the session's full set is here: reports may leave
	assigned   map[object.Key]types.UID
	reports    map[types.UID]*PodState // the newest of each pod
	dirty      map[types.UID]bool
	node       []byte // status to send; nil: nothing new
	helloNew   bool   // the node says more of itself than at its hello
	events     [][]byte
	mirrors    *Mirrors // nil: none were ever reported
	mirrorsNew bool
	storage    *Storage // nil: it was never reported
	storageNew bool

	snapshots    *Snapshots // nil: there were never any
	snapshotsNew bool

	tasks taskReports
}

// NewClient returns a client that is not running yet.
func NewClient(cfg ClientConfig) (*Client, error) {
	if len(cfg.Managers) == 0 || cfg.TLS == nil || cfg.Node == nil || cfg.Assign == nil || cfg.Log == nil {
		return nil, kind.New(kind.Invalid, "wire: ClientConfig lacks a required field")
	}
	c := &Client{
		cfg: cfg, wake: make(chan struct{}, 1), assigned: map[object.Key]types.UID{},
		reports: map[types.UID]*PodState{}, dirty: map[types.UID]bool{},
		tasks: taskReports{all: map[object.Key]*TaskUpdates{}, dirty: map[object.Key]bool{}},
	}
	c.heartbeat.Store(int64(defaultHeartbeat))
	return c, nil
}

// Connected reports whether a session is open and its full set has arrived.
func (c *Client) Connected() bool { return c.connected.Load() }

// leaseHeartbeats is how many heartbeats fit into the shortest grace of a manager.
const leaseHeartbeats = 3

// Lease returns for how long from now on the node may do what no two nodes may do at
// a time; 0: no session is open. A manager that hears nothing of the node gives its
// part to another no sooner.
func (c *Client) Lease() time.Duration {
	if !c.Connected() {
		return 0
	}
	return leaseHeartbeats * time.Duration(c.heartbeat.Load())
}

// Run keeps a session alive until ctx ends. It tries the managers in turn and
// waits longer after each failure, 100 ms to 2 s, with jitter.
func (c *Client) Run(ctx context.Context) error {
	wait := backoffMin
	for i := 0; ; i++ {
		addr := c.candidate(i)
		worked, err := c.session(ctx, addr)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if worked {
			wait = backoffMin
		}
		pause := wait/2 + rand.N(wait/2)
		c.cfg.Log.Warn("session ended", "manager", addr, "err", err, "again", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = min(2*wait, backoffMax)
	}
}

// candidate returns the manager to try at the i-th try.
func (c *Client) candidate(i int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.managers) == 0 {
		c.managers = c.cfg.Managers
	}
	return c.managers[i%len(c.managers)]
}

// learn notes which managers there are. Those that were configured stay, after them: all that
// were told of may be gone one day.
func (c *Client) learn(told []string) {
	c.mu.Lock()
	c.managers = slices.Clone(told)
	for _, m := range c.cfg.Managers {
		if !slices.Contains(told, m) {
			c.managers = append(c.managers, m)
		}
	}
	c.mu.Unlock()
	if c.cfg.Learn != nil {
		c.cfg.Learn(told)
	}
}

// session is one session from dial to end. worked: its full set arrived.
func (c *Client) session(ctx context.Context, addr string) (worked bool, err error) {
	conn, err := dial(addr, ManagersOnly(c.cfg.TLS()))
	if err != nil {
		return false, err
	}
	defer conn.Close()
	c.manager.Store(conn)
	defer c.manager.Store(nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := NewAgentsClient(conn).Session(ctx)
	if err != nil {
		return false, fmt.Errorf("opening a session: %w", err)
	}
	node, err := c.cfg.Node().Marshal()
	if err != nil {
		return false, fmt.Errorf("encoding the node: %w", err)
	}
	c.mu.Lock()
	c.helloNew = false
	c.mu.Unlock()
	if err := stream.Send(&Report{Hello: &Hello{Node: node, Tables: c.cfg.Wants}}); err != nil {
		_, err = stream.Recv() // Send says io.EOF; Recv says why
		return false, fmt.Errorf("opening a session: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel() // nothing can be said any more
		c.send(ctx, stream)
	}()
	defer func() {
		cancel()
		<-done
		c.mu.Lock()
		c.synced = false
		c.mu.Unlock()
		c.connected.Store(false)
	}()
	err = c.receive(ctx, stream, addr)
	return c.Connected(), err
}

type stream = grpc.BidiStreamingClient[Report, Assignments]

// receive takes assignments until the stream ends.
func (c *Client) receive(ctx context.Context, s stream, addr string) error {
	var items []Item
	var began time.Time
	full := false
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		if m.HeartbeatMs > 0 {
			c.heartbeat.Store(int64(time.Duration(m.HeartbeatMs) * time.Millisecond))
		}
		if len(m.Managers) > 0 {
			c.learn(m.Managers)
		}
		if m.Full {
			full, items, began = true, nil, time.Now()
		}
		for _, i := range m.Items {
			item, err := decodeItem(i)
			if err != nil {
				return err
			}
			items = append(items, item)
		}
		for _, message := range m.Messages {
			if c.cfg.Message != nil {
				c.cfg.Message(message)
			}
		}
		if m.More || !full && len(items) == 0 {
			continue
		}
		c.note(full, items)
		if err := c.cfg.Assign(ctx, full, items); err != nil {
			return fmt.Errorf("taking assignments: %w", err)
		}
		if full {
			c.cfg.Log.Info("session open", "manager", addr, "objects", len(items), "took", time.Since(began))
			c.sync()
		}
		full, items = false, nil
	}
}

// note keeps track of the node's pods, so that reports of pods that nobody asks
// for any more are forgotten.
func (c *Client) note(full bool, items []Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.assigned
	if full {
		c.assigned = make(map[object.Key]types.UID, len(items))
	}
	for _, i := range items {
		if i.Table != "pods" {
			continue
		}
		old := before[i.Key]
		delete(c.assigned, i.Key)
		if !i.Deleted {
			uid := i.Object.(*corev1.Pod).UID
			c.assigned[i.Key] = uid
			if uid == old {
				continue
			}
		}
		c.forget(old)
	}
	if !full {
		return
	}
	for key, uid := range before {
		if c.assigned[key] != uid {
			c.forget(uid)
		}
	}
}

// forget drops the report of a pod. Called with mu held.
func (c *Client) forget(uid types.UID) {
	delete(c.reports, uid)
	delete(c.dirty, uid)
}

// sync lets reports leave: all that is known goes to the new session.
func (c *Client) sync() {
	c.mu.Lock()
	c.synced = true
	c.mirrorsNew, c.storageNew, c.snapshotsNew = c.mirrors != nil, c.storage != nil, c.snapshots != nil
	for uid := range c.reports {
		c.dirty[uid] = true
	}
	c.tasks.again()
	c.mu.Unlock()
	c.connected.Store(true)
	c.signal()
}
