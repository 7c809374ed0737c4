package front

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"trireme/internal/kind"
)

// hello is how a connection begins that is passed on.
type hello struct {
	Door    string `json:"door"`
	Network string `json:"network"` // of who knocked
	Address string `json:"address"`
	At      string `json:"at"` // where they knocked
}

const (
	helloBytesMax = 1024
	served        = '+' // the answer
)

// pass passes who knocks at the door on to the leader.
func (f *Front) pass(ctx context.Context, leader, door string, c net.Conn) (*tls.Conn, error) {
	if f.cfg.Client == nil {
		return nil, kind.New(kind.Unavailable, "this manager is alone")
	}
	ctx, cancel := context.WithTimeout(ctx, dialMax)
	defer cancel()
	d := tls.Dialer{NetDialer: &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}, Config: f.cfg.Client}
	conn, err := d.DialContext(ctx, "tcp", leader)
	if err != nil {
		return nil, err
	}
	to := conn.(*tls.Conn)
	line, err := json.Marshal(hello{door, c.RemoteAddr().Network(), c.RemoteAddr().String(), c.LocalAddr().String()})
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	deadline, _ := ctx.Deadline()
	err = to.SetDeadline(deadline)
	if err == nil {
		_, err = to.Write(append(line, '\n'))
	}
	var answer [1]byte
	if err == nil {
		_, err = io.ReadFull(to, answer[:])
	}
	if err == nil && answer[0] != served {
		err = kind.New(kind.Unavailable, "%s does not serve %s", leader, door)
	}
	if err == nil {
		err = to.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	return to, nil
}

// Reaches reports whether the manager whose relay is at the address answers.
func (f *Front) Reaches(ctx context.Context, relay string) bool {
	if f.cfg.Client == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, dialMax)
	defer cancel()
	c, err := (&tls.Dialer{Config: f.cfg.Client}).DialContext(ctx, "tcp", relay)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// take lets in what another manager passes on.
func (f *Front) take(ctx context.Context, raw net.Conn) {
	c := tls.Server(raw, f.cfg.Server)
	if err := f.admit(ctx, c); err != nil {
		f.cfg.Log.Debug("taking what another manager passes on", "from", raw.RemoteAddr(), "err", err)
		c.Close()
	}
}

func (f *Front) admit(ctx context.Context, c *tls.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, helloMax)
	defer cancel()
	if err := c.SetDeadline(time.Now().Add(helloMax)); err != nil {
		return err
	}
	// One byte at a time: what follows the line is the client's.
	line, err := bufio.NewReaderSize(io.LimitReader(single{c}, helloBytesMax), 16).ReadBytes('\n')
	if err != nil {
		return err
	}
	var h hello
	if err := json.Unmarshal(line, &h); err != nil {
		return kind.New(kind.Malformed, "its first line: %w", err)
	}
	now, _ := f.state()
	if now.term == nil || now.term.halls[h.Door] == nil {
		return kind.New(kind.Unavailable, "this manager does not lead, or has no door %q", h.Door)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if !now.term.halls[h.Door].enter(ctx, &passed{Conn: c, from: there(h.Network, h.Address), at: there(h.Network, h.At)}) {
		return kind.New(kind.Unavailable, "nobody serves %q now", h.Door)
	}
	return nil
}

// single reads one byte at a time.
type single struct{ io.Reader }

// Read implements io.Reader.
func (s single) Read(p []byte) (int, error) { return s.Reader.Read(p[:min(1, len(p))]) }

// passed is a connection that another manager passes on.
type passed struct {
	*tls.Conn
	from, at net.Addr
}

// RemoteAddr implements net.Conn: it is that of who knocked there.
func (p *passed) RemoteAddr() net.Addr { return p.from }

// LocalAddr implements net.Conn: it is where they knocked.
func (p *passed) LocalAddr() net.Addr { return p.at }

// greet says that somebody serves it now. Who reads from it next learns where that failed.
func (p *passed) greet() {
	if _, err := p.Conn.Write([]byte{served}); err != nil {
		p.Conn.Close()
	}
}

// there returns an address at another manager.
func there(network, text string) net.Addr {
	if at, err := netip.ParseAddrPort(text); err == nil && network == "tcp" {
		return net.TCPAddrFromAddrPort(at)
	}
	return addr{network, text}
}

// addr is an address at another manager that is no port.
type addr struct{ network, text string }

// Network implements net.Addr.
func (a addr) Network() string { return a.network }

// String implements net.Addr.
func (a addr) String() string { return a.text }

// splice copies both ways until both have ended, or over does.
func splice(over context.Context, a, b net.Conn) {
	stop := context.AfterFunc(over, func() {
		a.Close()
		b.Close()
	})
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		half(a, b)
	}()
	half(b, a)
	<-done
	a.Close()
	b.Close()
}

// half copies from one to the other, and says there that nothing more comes; where it cannot,
// both end.
func half(to, from net.Conn) {
	_, err := io.Copy(to, from)
	w, ok := to.(interface{ CloseWrite() error })
	if err == nil && ok && w.CloseWrite() == nil {
		return
	}
	to.Close()
	from.Close()
}
