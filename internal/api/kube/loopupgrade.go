package kube

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
)

// upgradable is the response of an in-process request that asks for another protocol:
// its handler may take the connection, which is a pipe.
type upgradable struct {
	*answer
	taken chan net.Conn // the client's end
}

func newUpgradable(a *answer) *upgradable { return &upgradable{a, make(chan net.Conn, 1)} }

// Hijack implements http.Hijacker.
func (u *upgradable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	err := errors.New("the answer has begun")
	var mine net.Conn
	u.once.Do(func() {
		var theirs net.Conn
		mine, theirs = net.Pipe()
		u.taken <- theirs
		err = nil
	})
	if err != nil {
		return nil, nil, err
	}
	return mine, bufio.NewReadWriter(bufio.NewReader(mine), bufio.NewWriter(mine)), nil
}

// connection is the body of an answer that switches protocols: the rest of the pipe.
// Its request ends with it, and it with its request.
type connection struct {
	net.Conn
	in   *bufio.Reader
	done func()
}

// Read implements io.Reader.
func (c *connection) Read(b []byte) (int, error) { return c.in.Read(b) }

// Close implements io.Closer.
func (c *connection) Close() error {
	c.done()
	return c.Conn.Close()
}

// upgraded returns the answer that the handler wrote on the pipe. Where it switches
// protocols, the body is a net.Conn.
func (a *answer) upgraded(ctx context.Context, conn net.Conn, req *http.Request) (*http.Response, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c := &connection{conn, bufio.NewReader(conn), func() {
		stop()
		a.body.cancel()
	}}
	resp, err := http.ReadResponse(c.in, req)
	if err != nil {
		return nil, errors.Join(err, ctx.Err(), c.Close())
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = c
		return resp, nil
	}
	resp.Body = &refused{resp.Body, c}
	return resp, nil
}

// refused is the body of an answer on a pipe that does not switch protocols.
type refused struct {
	io.ReadCloser
	conn *connection
}

// Close implements io.Closer.
func (r *refused) Close() error { return errors.Join(r.conn.Close(), r.ReadCloser.Close()) }
