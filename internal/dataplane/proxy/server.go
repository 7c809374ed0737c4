package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/route"
)

// What a client may take. Bodies have no limit of their own: backends know theirs.
const (
	headerTime     = 10 * time.Second
	headerBytesMax = 64 << 10
	idleTime       = 90 * time.Second
	streamsMax     = 250
	connectionsMax = 16384 // a port
	stopTime       = 3 * time.Second
)

// server is one open port.
type server struct {
	http   *http.Server
	l      net.Listener
	room   chan struct{} // holds one of each connection
	secure bool
	log    *slog.Logger
}

// listen opens a port.
func (p *Proxy) listen(port int32, secure bool) (*server, error) {
	l, err := p.cfg.Listen(port)
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(!secure)
	b := newBounded(l, connectionsMax)
	s := &server{secure: secure, log: p.cfg.Log.With("port", port), l: b, room: b.room}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(port, w, r) }),
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: headerBytesMax,
		Protocols: protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streamsMax},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // what clients do wrong
	}
	if secure {
		s.http.TLSConfig = p.tls(port)
		s.l = newSniffer(p, port, s.l)
	}
	return s, nil
}

// tls is how a port speaks TLS.
func (p *Proxy) tls(port int32) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return p.now.Load().certificate(port, h.ServerName)
		},
	}
}

func (s *server) run() {
	var err error
	if s.secure {
		err = s.http.ServeTLS(s.l, "", "")
	} else {
		err = s.http.Serve(s.l)
	}
	if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		s.log.Error("serving ingress", "err", err)
	}
}

// release gives the port back.
func (s *server) release() { s.l.Close() }

// stop lets requests that are under way end, for a moment.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
}

// certificate returns what to show to who asks for a host.
func (s *snapshot) certificate(port int32, host string) (*tls.Certificate, error) {
	key, ok := s.table.Certificate(port, normal(host))
	if !ok {
		return nil, fmt.Errorf("there is no certificate for host %q", host)
	}
	c := s.certs[key]
	if c == nil {
		return nil, fmt.Errorf("secret %s, for host %q, holds no certificate", key, host)
	}
	return c, nil
}

// certificates returns the key pairs of the table's secrets. One that cannot be read
// leaves what was there before, so that a bad write breaks nothing.
func (p *Proxy) certificates(t *route.Table, was map[object.Key]*tls.Certificate) map[object.Key]*tls.Certificate {
	out := map[object.Key]*tls.Certificate{}
	t.Secrets(func(key object.Key) {
		s := p.secrets[key]
		if s == nil || out[key] != nil {
			return
		}
		c, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
		if err != nil {
			p.cfg.Log.Warn("reading a certificate for ingress", "secret", key, "err", err)
			if was[key] != nil {
				out[key] = was[key]
			}
			return
		}
		out[key] = &c
	})
	return out
}

// bounded is a listener with so many connections at a time.
type bounded struct {
	net.Listener
	room chan struct{}
	done chan struct{}
	once sync.Once
}

func newBounded(l net.Listener, n int) *bounded {
	return &bounded{Listener: l, room: make(chan struct{}, n), done: make(chan struct{})}
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.room <- struct{}{}:
	case <-b.done:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.room
		return nil, err
	}
	return &boundedConn{Conn: c, b: b}, nil
}

func (b *bounded) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

type boundedConn struct {
	net.Conn
	b    *bounded
	once sync.Once
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.b.room })
	return err
}
