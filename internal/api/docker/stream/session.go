package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/moby/moby/api/types"
	"github.com/moby/term"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/remotecommand"

	"trireme/internal/kind"
)

// Session is a client's side of what runs in a container: the connection of a request,
// taken over from HTTP.
type Session struct {
	Frames
	Context context.Context // ends when the client has gone, too
	TTY     bool
	// Terminal is the size of the client's.
	Terminal *Terminal

	w       http.ResponseWriter
	upgrade bool
	end     context.CancelFunc
	conn    net.Conn  // nil: not taken over yet
	in      io.Reader // what the client sends
}

// New prepares the session of a request; Close it.
func New(w http.ResponseWriter, req *http.Request, tty bool) *Session {
	s := &Session{w: w, upgrade: req.Header.Get("Upgrade") != "", TTY: tty}
	s.Context, s.end = context.WithCancel(req.Context())
	s.Raw, s.Stop, s.Terminal = tty, s.end, NewTerminal(s.Context)
	return s
}

// Opened reports whether the connection was taken over.
func (s *Session) Opened() bool { return s.conn != nil }

// Open takes the connection over and says so to the client.
func (s *Session) Open() error {
	conn, buffered, err := http.NewResponseController(s.w).Hijack()
	if err != nil {
		return kind.New(kind.Unsupported, "streams need HTTP/1.1: %v", err)
	}
	// What is read through the server's own reader ends the request with the client's half.
	read, err := buffered.Peek(buffered.Reader.Buffered())
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.conn, s.in, s.Out = conn, io.MultiReader(bytes.NewReader(bytes.Clone(read)), conn), conn
	context.AfterFunc(s.Context, func() { conn.Close() })
	media := types.MediaTypeMultiplexedStream
	if s.TTY {
		media = types.MediaTypeRawStream
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + media + "\r\n\r\n"
	if s.upgrade {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + media + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, head); err != nil {
		return err
	}
	go s.notice()
	return nil
}

// Close ends the session; what it has started returns.
func (s *Session) Close() {
	s.end()
	if s.conn != nil {
		s.conn.Close()
	}
}

// noticeEvery is how often a client that says nothing is looked at.
const noticeEvery = time.Second

// notice ends the session when its client has gone. One that has closed its half, as
// clients without input do at once, has not: below TLS that is not seen, so that there
// the end of what it sends is its own.
func (s *Session) notice() {
	conn, wanted := s.conn, int16(0)
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn, wanted = t.NetConn(), unix.POLLRDHUP
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	tick := time.NewTicker(noticeEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.Context.Done():
			return
		case <-tick.C:
		}
		gone := false
		err := raw.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: wanted}}
			if n, err := unix.Poll(fds, 0); err == nil && n > 0 {
				gone = fds[0].Revents&(unix.POLLHUP|unix.POLLERR|wanted) != 0
			}
		})
		if gone || err != nil {
			s.end()
			return
		}
	}
}

// Read reads what the client sends.
func (s *Session) Read(b []byte) (int, error) { return s.in.Read(b) }

// Stream returns where one of the outputs is written.
func (s *Session) Stream(n byte) io.Writer { return output{s, n} }

type output struct {
	s *Session
	n byte
}

// Write implements io.Writer.
func (o output) Write(b []byte) (int, error) {
	if err := o.s.Context.Err(); err != nil {
		return 0, err
	}
	for rest := b; len(rest) > 0; {
		part := rest[:min(len(rest), lineMax)]
		o.s.Send(o.n, part)
		rest = rest[len(part):]
	}
	return len(b), o.s.Context.Err()
}

// Detachable returns the client's input up to the keys that detach a terminal, with which
// it ends as with term.EscapeError.
func (s *Session) Detachable(keys string) (io.Reader, error) {
	if keys == "" {
		keys = "ctrl-p,ctrl-q"
	}
	codes, err := term.ToBytes(keys)
	if err != nil {
		return nil, kind.New(kind.Malformed, "invalid detachKeys %q: %v", keys, err)
	}
	return &until{term.NewEscapeProxy(s, codes), s.end}, nil
}

// until ends the session with its reader's detaching.
type until struct {
	io.Reader
	end func()
}

// Read implements io.Reader.
func (u *until) Read(b []byte) (int, error) {
	n, err := u.Reader.Read(b)
	if _, detached := err.(term.EscapeError); detached { //nolint:errorlint // it is returned as it is
		u.end()
		return n, io.EOF
	}
	return n, err
}

// Terminal is the size of one, as its client last said it.
type Terminal struct {
	ctx   context.Context
	sizes chan remotecommand.TerminalSize
}

// NewTerminal returns one of which nobody knows the size; it ends with ctx.
func NewTerminal(ctx context.Context) *Terminal {
	return &Terminal{ctx, make(chan remotecommand.TerminalSize, 1)}
}

// Next implements remotecommand.TerminalSizeQueue.
func (t *Terminal) Next() *remotecommand.TerminalSize {
	select {
	case s := <-t.sizes:
		return &s
	case <-t.ctx.Done():
		return nil
	}
}

// Resize has the latest size win.
func (t *Terminal) Resize(s remotecommand.TerminalSize) {
	for {
		select {
		case t.sizes <- s:
			return
		default:
		}
		select {
		case <-t.sizes:
		default:
		}
	}
}
