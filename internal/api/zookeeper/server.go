package zookeeper

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	requestMax = 64 << 10
	connsMax   = 1000
	watchesMax = 1000
	// The session's timeout is what the client asks for, within these.
	timeoutMin, timeoutMax = 4 * time.Second, 40 * time.Second
	writeMax               = 10 * time.Second
	// waitMax is how many answers may wait for a client to read them.
	waitMax = 256
)

// Server serves a tree.
type Server struct {
	l    net.Listener
	log  *slog.Logger
	tree *tree
	open chan struct{} // one for each connection
}

// New returns a server whose tree is empty.
func New(l net.Listener, log *slog.Logger) *Server {
	return &Server{l: l, log: log, tree: newTree(), open: make(chan struct{}, connsMax)}
}

// Set makes the tree have these nodes with their data, and those above them, and no others.
func (s *Server) Set(nodes map[string][]byte) { s.tree.set(nodes, time.Now()) }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := s.l.Accept()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("ZooKeeper's clients: %w", err)
		}
		select {
		case s.open <- struct{}{}:
		default:
			c.Close() // there are enough
			continue
		}
		wg.Go(func() {
			defer func() { <-s.open }()
			end := context.AfterFunc(ctx, func() { c.Close() })
			defer end()
			defer c.Close()
			if err := s.serve(c); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				s.log.Debug("a ZooKeeper client's connection ends", "from", c.RemoteAddr().String(), "err", err)
			}
		})
	}
}

// conn is one client.
type conn struct {
	net.Conn
	tree    *tree
	timeout time.Duration
	out     chan []byte // what is to be written

	data, children map[string]bool // what is watched; under tree.mu
}

func (s *Server) serve(nc net.Conn) error {
	c := &conn{Conn: nc, tree: s.tree, timeout: timeoutMin, out: make(chan []byte, waitMax), data: map[string]bool{}, children: map[string]bool{}}
	if err := c.connect(); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(c.writeAll)
	s.tree.mu.Lock()
	s.tree.conns[c] = true
	s.tree.mu.Unlock()
	defer func() {
		s.tree.mu.Lock()
		delete(s.tree.conns, c)
		close(c.out)
		s.tree.mu.Unlock()
	}()
	for {
		req, err := c.next()
		if err != nil {
			return err
		}
		if done, err := c.answer(req); done || err != nil {
			return err
		}
	}
}

// writeAll writes what is to be written, until there will be no more. Where it cannot, the
// connection ends.
func (c *conn) writeAll() {
	for b := range c.out {
		if c.write(b) != nil {
			c.Close() // its reader ends, and closes out
		}
	}
}

// send has something written; a client that does not read is cut.
func (c *conn) send(b []byte) {
	select {
	case c.out <- b:
	default:
		c.Close()
	}
}

// next reads one request.
func (c *conn) next() (*reader, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > requestMax {
		return nil, fmt.Errorf("a request of %d bytes", n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(c, body)
	return &reader{b: body}, err
}

// connect answers a ConnectRequest, or four letters.
func (c *conn) connect() error {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	if said, ok := letters[string(size[:])]; ok {
		return errors.Join(c.write([]byte(said)), io.EOF)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > requestMax {
		return fmt.Errorf("a first request of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c, body); err != nil {
		return err
	}
	r := &reader{b: body}
	r.int()  // version
	r.long() // the last zxid that the client has seen
	wanted := time.Duration(r.int()) * time.Millisecond
	r.long()   // a session of before: it has ended with its connection
	r.buffer() // its password
	if r.err != nil {
		return r.err
	}
	c.timeout = min(max(wanted, timeoutMin), timeoutMax)
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	w := newWriter()
	w.int(0)
	w.int(int32(c.timeout.Milliseconds()))
	w.long(int64(binary.BigEndian.Uint64(id[:]) >> 1))
	w.string(string(make([]byte, 16)))
	if len(r.b) > 0 { // a client of 3.4 says whether it takes a read-only server
		w.bool(false)
	}
	return c.write(w.frame())
}

// letters are the commands of four letters that monitors ask with.
var letters = map[string]string{"ruok": "imok", "isro": "ro", "srvr": "Zookeeper version: 3.4.14-trireme\nMode: standalone\n"}

func (c *conn) write(b []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(writeMax)); err != nil {
		return err
	}
	_, err := c.Conn.Write(b)
	return err
}
