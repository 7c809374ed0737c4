package front

import (
	"net"
	"sync"
	"syscall"

	"trireme/internal/kind"
)

// Term is one term of leading: the doors as those see them who serve.
type Term struct {
	front *Front
	leads func(over <-chan struct{}) bool
	halls map[string]*hall
	over  chan struct{}

	mu     sync.Mutex
	ended  bool
	guests map[*guest]struct{}
}

// Listener returns where the door's connections come in; nil: there is no such door. It is closed,
// and its door is not, when the term ends.
func (t *Term) Listener(door string) net.Listener {
	if h := t.halls[door]; h != nil {
		return h
	}
	return nil
}

// End ends the term and its connections. Who knocks from now on waits for the next leader.
func (t *Term) End() {
	t.mu.Lock()
	guests := t.guests
	again := t.ended
	t.ended, t.guests = true, nil
	t.mu.Unlock()
	if again {
		return
	}
	close(t.over)
	t.front.mu.Lock()
	own := t.front.now.term == t
	t.front.mu.Unlock()
	if own {
		t.front.set(state{})
	}
	for _, h := range t.halls {
		h.Close()
	}
	for g := range guests {
		g.Conn.Close()
	}
}

// hall is a door's net.Listener for one term.
type hall struct {
	term  *Term
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	over  chan struct{}
}

// Accept implements net.Listener.
func (h *hall) Accept() (net.Conn, error) {
	for {
		select {
		case c := <-h.conns:
			if p, ok := c.(*passed); ok {
				p.greet()
			}
			if g := h.term.host(c); g != nil {
				return g, nil
			}
		case <-h.over:
			return nil, net.ErrClosed
		}
	}
}

// Close implements net.Listener.
func (h *hall) Close() error {
	h.once.Do(func() { close(h.over) })
	return nil
}

// Addr implements net.Listener.
func (h *hall) Addr() net.Addr { return h.addr }

// guest is a connection as who serves it sees it.
type guest struct {
	net.Conn
	term *Term
}

// host makes the connection one of the term's; nil: the term is over, and so is the connection.
func (t *Term) host(c net.Conn) *guest {
	g := &guest{c, t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		c.Close()
		return nil
	}
	t.guests[g] = struct{}{}
	return g
}

// Read implements net.Conn. What came while this manager did not lead is nobody's.
func (g *guest) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if n > 0 && !g.term.leads(g.term.over) {
		return 0, net.ErrClosed
	}
	return n, err
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.term.mu.Lock()
	delete(g.term.guests, g)
	g.term.mu.Unlock()
	return g.Conn.Close()
}

// CloseWrite says that nothing more comes, where the connection can.
func (g *guest) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return kind.New(kind.Unsupported, "a connection of %s has no half", g.LocalAddr().Network())
}

// SyscallConn implements syscall.Conn: the socket that the bytes come from.
func (g *guest) SyscallConn() (syscall.RawConn, error) {
	c := g.Conn
	if p, ok := c.(*passed); ok {
		c = p.NetConn()
	}
	if s, ok := c.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, kind.New(kind.Unsupported, "a connection of %s has no socket", g.LocalAddr().Network())
}
