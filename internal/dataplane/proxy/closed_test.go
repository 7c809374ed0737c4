package proxy_test

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"trireme/internal/dataplane/proxy"
	"trireme/internal/object/route"
)

// idle is a listener that nobody connects to.
type idle struct{ closed chan struct{} }

func (l idle) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l idle) Close() error {
	close(l.closed)
	return nil
}

func (l idle) Addr() net.Addr { return &net.TCPAddr{} }

// A port that somebody else has is told of once, and again when it is free; one that
// nobody asks for any more is forgotten.
func TestTakenPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Bool
		told := make(chan map[int32]error, 8)
		p := proxy.New(proxy.Config{
			Listen: func(port int32) (net.Listener, error) {
				if port != 80 && !free.Load() {
					return nil, syscall.EADDRINUSE
				}
				return idle{make(chan struct{})}, nil
			},
			Closed: func(ports map[int32]error) { told <- ports }, Log: slog.New(slog.DiscardHandler),
		})
		ask := func(ports ...route.Port) {
			p.SetPart(key("p"), &route.Part{Ports: ports})
			p.Commit()
		}
		ask(route.Port{Port: 80}, route.Port{Port: 443, TLS: true}, route.Port{Port: 8443, TLS: true})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		if got := <-told; len(got) != 2 || got[443] == nil || got[8443] == nil {
			t.Errorf("told of %v", got)
		}
		time.Sleep(time.Minute)
		if len(told) > 0 {
			t.Errorf("told again of %v", <-told)
		}
		ask(route.Port{Port: 80}, route.Port{Port: 443, TLS: true})
		if got := <-told; len(got) != 1 || got[443] == nil {
			t.Errorf("then told of %v", got)
		}
		free.Store(true)
		if got := <-told; len(got) != 0 {
			t.Errorf("at last told of %v", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
