package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net"
	"net/http/httputil"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/route"
)

// Config is what a proxy needs. All without another word is required.
type Config struct {
	Listen func(port int32) (net.Listener, error) // opens a port of the node
	// Closed is told, each time that it changes, which ports cannot be opened, and why.
	Closed    func(ports map[int32]error)
	AccessLog io.Writer // gets a line of JSON a request; nil: none is written
	Log       *slog.Logger
}

// Proxy is the proxy of one node.
type Proxy struct {
	cfg     Config
	now     atomic.Pointer[snapshot]
	wake    chan struct{}
	reverse *httputil.ReverseProxy
	plain   transports
	figures figures
	access  *accessLog                        // nil: none
	open    atomic.Pointer[map[int32]*server] // for figures

	// What Set… said.
	parts    map[object.Key]*route.Part
	services map[object.Key]described
	secrets  map[object.Key]*corev1.Secret
	table    *route.Table        // of the parts
	dirty    map[object.Key]bool // services, since the last Commit
	reparse  bool                // secrets changed
}

// snapshot is what requests are answered from: immutable but for counters.
type snapshot struct {
	table    *route.Table
	services map[object.Key]*service // those that the table leads to
	certs    map[object.Key]*tls.Certificate
}

type described struct {
	svc    *corev1.Service
	slices []*discoveryv1.EndpointSlice
}

// New returns a proxy that answers nothing yet.
func New(cfg Config) *Proxy {
	p := &Proxy{
		cfg: cfg, wake: make(chan struct{}, 1), plain: newTransports(), table: route.Compile(nil),
		parts: map[object.Key]*route.Part{}, services: map[object.Key]described{},
		secrets: map[object.Key]*corev1.Secret{}, dirty: map[object.Key]bool{},
	}
	if cfg.AccessLog != nil {
		p.access = newAccessLog()
	}
	p.now.Store(&snapshot{table: p.table})
	p.reverse = p.newReverse()
	return p
}

// Known yields the parts and secrets that Set… said are there.
func (p *Proxy) Known() iter.Seq[metav1.Object] {
	return func(yield func(metav1.Object) bool) {
		for _, part := range p.parts {
			if !yield(part) {
				return
			}
		}
		for _, s := range p.secrets {
			if !yield(s) {
				return
			}
		}
	}
}

// SetPart says what a part is; nil: it is gone.
func (p *Proxy) SetPart(key object.Key, part *route.Part) {
	set(p.parts, key, part, part == nil)
	p.table = nil
}

// SetService says what a service is; a nil service is gone. slices are its endpoints.
func (p *Proxy) SetService(key object.Key, svc *corev1.Service, slices []*discoveryv1.EndpointSlice) {
	set(p.services, key, described{svc, slices}, svc == nil)
	p.dirty[key] = true
}

// SetSecret says what a secret is; nil: it is gone. Those that hold no certificate are
// not kept.
func (p *Proxy) SetSecret(key object.Key, s *corev1.Secret) {
	if _, had := p.secrets[key]; !had && (s == nil || len(s.Data[corev1.TLSCertKey]) == 0) {
		return
	}
	set(p.secrets, key, s, s == nil)
	p.reparse = true
}

func set[V any](m map[object.Key]V, key object.Key, v V, gone bool) {
	if gone {
		delete(m, key)
		return
	}
	m[key] = v
}

// Commit makes what Set… said since the last Commit what requests are answered from.
func (p *Proxy) Commit() {
	was := p.now.Load()
	anew := p.table == nil
	if !anew && !p.reparse && !p.leadsToAny(was) {
		clear(p.dirty)
		return
	}
	next := &snapshot{table: p.table, services: was.services, certs: was.certs}
	if anew {
		p.table = route.Compile(slices.Collect(maps.Values(p.parts)))
		next.table = p.table
	}
	next.services = map[object.Key]*service{}
	next.table.Services(func(key object.Key) {
		if _, done := next.services[key]; done {
			return
		}
		old := was.services[key]
		if d, ok := p.services[key]; old != nil && !p.dirty[key] {
			next.services[key] = old
		} else if ok {
			next.services[key] = newService(d, old)
		}
	})
	if anew || p.reparse {
		next.certs = p.certificates(next.table, was.certs)
	}
	p.reparse = false
	clear(p.dirty)
	p.now.Store(next)
	if anew {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// leadsToAny reports whether a service that changed is one that requests go to.
func (p *Proxy) leadsToAny(s *snapshot) bool {
	if len(p.dirty) == 0 {
		return false
	}
	led := false
	s.table.Services(func(key object.Key) { led = led || p.dirty[key] })
	return led
}

// retryListen is how often a port that somebody else has is tried again.
const retryListen = 5 * time.Second

// Run serves until ctx ends. Requests that are under way then have a moment to end.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.logging()()
	var serving sync.WaitGroup
	defer serving.Wait()
	open := map[int32]*server{}
	defer func() {
		for _, s := range open {
			serving.Go(s.stop)
		}
	}()
	tick := time.NewTicker(retryListen)
	defer tick.Stop()
	closed := map[int32]error{}
	for {
		was := maps.Clone(closed)
		want := p.now.Load().table.Ports()
		maps.DeleteFunc(closed, func(port int32, _ error) bool { _, ok := want[port]; return !ok })
		for port, s := range open {
			if secure, ok := want[port]; !ok || secure != s.secure {
				delete(open, port)
				s.release()
				serving.Go(s.stop)
			}
		}
		for port, secure := range want {
			if open[port] != nil {
				continue
			}
			s, err := p.listen(port, secure)
			if err != nil {
				closed[port] = err
				continue
			}
			delete(closed, port)
			p.cfg.Log.Info("ingress is served", "port", port, "tls", secure)
			open[port] = s
			serving.Go(s.run)
		}
		now := maps.Clone(open)
		p.open.Store(&now)
		if !maps.EqualFunc(was, closed, func(error, error) bool { return true }) {
			p.cfg.Closed(maps.Clone(closed))
		}
		select {
		case <-p.wake:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// logging writes the access log until the function that it returns was called.
func (p *Proxy) logging() (stop func()) {
	if p.access == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() { p.access.run(ctx, p.cfg.AccessLog) })
	return func() {
		cancel()
		writing.Wait()
	}
}
