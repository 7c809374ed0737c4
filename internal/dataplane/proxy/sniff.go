package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"trireme/internal/object/route"
)

// sniffer takes connections out of a listener whose name in TLS a passthrough rule
// has, and passes them on as they are. Where a port has no such rule it does nothing.
type sniffer struct {
	net.Listener
	p    *Proxy
	port int32

	conns chan net.Conn // looked at, for Accept
	errs  chan error
	done  chan struct{}
	once  sync.Once
}

func newSniffer(p *Proxy, port int32, l net.Listener) *sniffer {
	s := &sniffer{Listener: l, p: p, port: port, conns: make(chan net.Conn), errs: make(chan error, 1), done: make(chan struct{})}
	go s.accept()
	return s
}

func (s *sniffer) accept() {
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			s.errs <- err
			return
		}
		if !s.p.now.Load().table.Passes(s.port) {
			s.hand(c)
			continue
		}
		go s.look(c)
	}
}

func (s *sniffer) hand(c net.Conn) {
	select {
	case s.conns <- c:
	case <-s.done:
		c.Close()
	}
}

// Accept returns the next connection that no passthrough rule has.
func (s *sniffer) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case err := <-s.errs:
		return nil, err
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *sniffer) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.Listener.Close()
}

// look reads the client's first message and decides.
func (s *sniffer) look(c net.Conn) {
	c.SetReadDeadline(time.Now().Add(headerTime))
	var said bytes.Buffer
	name, err := clientName(io.TeeReader(c, &said))
	c.SetReadDeadline(time.Time{})
	if err != nil {
		c.Close()
		return
	}
	whole := &replay{Conn: c, Reader: io.MultiReader(&said, c)}
	snap := s.p.now.Load()
	rule, terminate := snap.table.Passthrough(s.port, normal(name))
	if rule == nil {
		s.hand(whole)
		return
	}
	defer c.Close()
	client := net.Conn(whole)
	if terminate {
		secure := tls.Server(whole, s.p.tls(s.port))
		ctx, cancel := context.WithTimeout(context.Background(), headerTime)
		err := secure.HandshakeContext(ctx)
		if cancel(); err != nil {
			return
		}
		client = secure
	}
	s.p.pass(snap, rule, client)
}

// pass connects a client to an endpoint until either has closed.
func (p *Proxy) pass(snap *snapshot, rule *route.Rule, client net.Conn) {
	b := choose(rule.Backends)
	if b == nil || b.Invalid {
		return
	}
	svc := snap.services[b.Service]
	port := svc.port(b)
	if port == nil {
		return
	}
	var server net.Conn
	for _, at := range turns(svc, port) {
		var err error
		if server, err = net.DialTimeout("tcp", at, dialTime); err == nil {
			break
		}
	}
	if server == nil {
		return
	}
	defer server.Close()
	var up sync.WaitGroup
	up.Go(func() {
		io.Copy(server, client)
		closeWrite(server)
	})
	io.Copy(client, server)
	closeWrite(client)
	client.SetReadDeadline(time.Now().Add(idleTime)) // the client may still have something to say, not for ever
	up.Wait()
}

func closeWrite(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		t.CloseWrite() // says that nothing follows; TCP is closed after the other direction
		return
	}
	if r, ok := c.(*replay); ok {
		c = r.Conn
	}
	if b, ok := c.(*boundedConn); ok {
		c = b.Conn
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.CloseWrite()
	}
}

// replay is a connection whose beginning was read already.
type replay struct {
	net.Conn
	io.Reader
}

func (r *replay) Read(b []byte) (int, error) { return r.Reader.Read(b) }

var errSeen = errors.New("the client hello was seen")

// clientName returns the name that a client asks for in TLS, empty where it names none.
func clientName(r io.Reader) (name string, err error) {
	seen := false
	c := tls.Server(readOnly{r}, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name, seen = h.ServerName, true
		return nil, errSeen
	}})
	if err := c.HandshakeContext(context.Background()); !seen {
		return "", err
	}
	return name, nil
}

// readOnly is a connection that swallows what is written to it.
type readOnly struct{ io.Reader }

func (readOnly) Write(b []byte) (int, error)      { return len(b), nil }
func (readOnly) Close() error                     { return nil }
func (readOnly) LocalAddr() net.Addr              { return nil }
func (readOnly) RemoteAddr() net.Addr             { return nil }
func (readOnly) SetDeadline(time.Time) error      { return nil }
func (readOnly) SetReadDeadline(time.Time) error  { return nil }
func (readOnly) SetWriteDeadline(time.Time) error { return nil }
