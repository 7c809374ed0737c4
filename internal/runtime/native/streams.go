package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	goruntime "runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/runtime/shim"
)

const (
	dialWait = 5 * time.Second
	// outputMax is how much ExecSync keeps of each stream, as CRI has it.
	outputMax = 16 << 20
	// drainWait is how long the output of a command that has ended is waited for: a
	// background child that keeps the pipe open must not hold up a probe.
	drainWait = 2 * time.Second
)

// streams serves what Exec, Attach and PortForward promise, on this node's
// loopback; an address holds a token that is good once.
type streams struct {
	server streaming.Server
	listen net.Listener
}

func newStreams(r *Runtime) (*streams, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, kind.New(kind.Unavailable, "listening for streams: %w", err)
	}
	cfg := streaming.DefaultConfig
	cfg.Addr = l.Addr().String()
	cfg.BaseURL = &url.URL{Scheme: "http", Host: cfg.Addr}
	server, err := streaming.NewServer(cfg, streamer{r})
	if err != nil {
		l.Close()
		return nil, kind.New(kind.Internal, "serving streams: %w", err)
	}
	return &streams{server: server, listen: l}, nil
}

// run serves until ctx ends; then it cuts what still streams.
func (s *streams) run(ctx context.Context) error {
	h := &http.Server{Handler: s.server, ReadHeaderTimeout: dialWait}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	err := h.Serve(s.listen)
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving streams: %w", err)
}

// Exec returns where a command in a container is streamed.
func (r *Runtime) Exec(_ context.Context, id string, opts runtime.StreamOptions) (*url.URL, error) {
	if err := r.runs(id); err != nil {
		return nil, err
	}
	res, err := r.streams.server.GetExec(&criv1.ExecRequest{
		ContainerId: id, Cmd: opts.Cmd, Tty: opts.TTY, Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr && !opts.TTY,
	})
	return address(res.GetUrl(), err)
}

// Attach returns where a container's own streams are.
func (r *Runtime) Attach(_ context.Context, id string, opts runtime.StreamOptions) (*url.URL, error) {
	if err := r.runs(id); err != nil {
		return nil, err
	}
	tty := r.container(id).rec.TTY
	res, err := r.streams.server.GetAttach(&criv1.AttachRequest{
		ContainerId: id, Tty: tty, Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr && !tty,
	})
	return address(res.GetUrl(), err)
}

// PortForward returns where connections to a sandbox's ports are streamed.
func (r *Runtime) PortForward(_ context.Context, sandboxID string, ports []int32) (*url.URL, error) {
	if _, err := r.netns(sandboxID); err != nil {
		return nil, err
	}
	res, err := r.streams.server.GetPortForward(&criv1.PortForwardRequest{PodSandboxId: sandboxID, Port: ports})
	return address(res.GetUrl(), err)
}

func address(s string, err error) (*url.URL, error) {
	if err != nil {
		return nil, kind.New(kind.Invalid, "preparing a stream: %w", err)
	}
	return url.Parse(s)
}

func (r *Runtime) runs(id string) error {
	c := r.container(id)
	switch {
	case c == nil:
		return kind.New(kind.NotFound, "no container %s", id)
	case r.stateOf(c) != runtime.Running:
		return kind.New(kind.Invalid, "container %s does not run", id)
	}
	return nil
}

// ReopenLog makes the shim open the container's log path anew.
func (r *Runtime) ReopenLog(ctx context.Context, id string) error {
	if err := r.shim.Reopen(ctx, id); err != nil {
		return &kind.Error{Kind: kind.Of(err), Op: "reopening the log of container", Object: id, Err: err}
	}
	return nil
}

// ExecSync runs a command to its end; one that outlives timeout is killed.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, code int, err error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var out, errs capped
	exit, err := r.exec(ctx, id, command{words: cmd, out: &out, err: &errs})
	if err != nil {
		return nil, nil, 0, &kind.Error{Kind: kind.Of(err), Op: "executing in container", Object: id, Err: err}
	}
	return out.bytes(), errs.bytes(), int(exit), nil
}

// capped keeps the beginning of what is written.
type capped struct {
	mu sync.Mutex // the copying may outlive the wait for it
	b  bytes.Buffer
}

func (c *capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b.Write(p[:min(len(p), outputMax-c.b.Len())])
	return len(p), nil
}

func (c *capped) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.b.Bytes())
}

// command is a command in a container with its streams; each may be nil.
type command struct {
	words    []string
	in       io.Reader
	out, err io.Writer
	tty      bool
	resize   <-chan remotecommand.TerminalSize
}

// exec runs a command to its end and returns its exit code.
func (r *Runtime) exec(ctx context.Context, id string, c command) (int32, error) {
	if err := r.runs(id); err != nil {
		return 0, err
	}
	process, err := r.process(id, c.words, c.tty)
	if err != nil {
		return 0, err
	}
	if c.tty {
		return r.execTerminal(ctx, id, process, c)
	}
	p, err := openPipes(c.in != nil, c.out != nil, c.err != nil)
	if err != nil {
		return 0, err
	}
	defer p.close()
	e, err := r.shim.Exec(ctx, id, shim.Command{Process: process, Streams: p.names}, p.theirs...)
	if err != nil {
		return 0, err
	}
	defer e.Close()
	p.closeTheirs()
	var copies sync.WaitGroup
	if p.out != nil {
		copies.Go(func() { _, _ = io.Copy(c.out, p.out) })
	}
	if p.err != nil {
		copies.Go(func() { _, _ = io.Copy(c.err, p.err) })
	}
	if p.in != nil {
		go func() { // it may wait for a client for ever
			_, _ = io.Copy(p.in, c.in)
			p.in.Close()
		}()
	}
	code, err := e.Wait()
	drained := make(chan struct{})
	go func() {
		copies.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(drainWait):
	}
	return code, err
}

func (r *Runtime) execTerminal(ctx context.Context, id string, process []byte, c command) (int32, error) {
	e, err := r.shim.Exec(ctx, id, shim.Command{Process: process, TTY: true})
	if err != nil {
		return 0, err
	}
	defer e.Close()
	if e.TTY == nil {
		return 0, kind.New(kind.Internal, "the shim sent no terminal")
	}
	defer e.TTY.Close()
	done := make(chan struct{})
	defer close(done)
	go follow(done, c.resize, func(w, h uint16) { _ = shim.Resize(e.TTY, w, h) })
	if c.in != nil {
		go func() { _, _ = io.Copy(e.TTY, c.in) }()
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		if c.out != nil {
			_, _ = io.Copy(c.out, e.TTY) // ends with EIO
		}
	}()
	code, err := e.Wait()
	select {
	case <-drained:
	case <-time.After(drainWait):
	}
	return code, err
}

// follow passes a client's window sizes on.
func follow(done <-chan struct{}, sizes <-chan remotecommand.TerminalSize, set func(width, height uint16)) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			set(size.Width, size.Height)
		case <-done:
			return
		}
	}
}

// pipes are a command's streams: our ends, and those that it gets.
type pipes struct {
	in, out, err *os.File
	names        string
	theirs       []*os.File
}

func openPipes(in, out, err bool) (*pipes, error) {
	p := &pipes{}
	for _, s := range []struct {
		want bool
		name string
		own  **os.File
		read bool // by us
	}{{in, "i", &p.in, false}, {out, "o", &p.out, true}, {err, "e", &p.err, true}} {
		if !s.want {
			continue
		}
		var fds [2]int
		if e := unix.Pipe2(fds[:], unix.O_CLOEXEC); e != nil { // os.Pipe would make theirs non-blocking
			p.close()
			return nil, e
		}
		own, their := fds[1], fds[0]
		if s.read {
			own, their = fds[0], fds[1]
		}
		_ = unix.SetNonblock(own, true) // never fails on a pipe
		*s.own = os.NewFile(uintptr(own), "pipe")
		p.names += s.name
		p.theirs = append(p.theirs, os.NewFile(uintptr(their), "pipe"))
	}
	return p, nil
}

func (p *pipes) closeTheirs() {
	for _, f := range p.theirs {
		f.Close()
	}
	p.theirs = nil
}

func (p *pipes) close() {
	p.closeTheirs()
	for _, f := range []*os.File{p.in, p.out, p.err} {
		if f != nil {
			f.Close()
		}
	}
}

// streamer is the Runtime as the streaming server wants it.
type streamer struct{ r *Runtime }

// Exec implements streaming.Runtime.
func (s streamer) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	c := command{words: cmd, in: in, tty: tty, resize: resize}
	if out != nil {
		c.out = out
	}
	if errs != nil {
		c.err = errs
	}
	code, err := s.r.exec(ctx, id, c)
	if err == nil && code != 0 {
		return &utilexec.CodeExitError{Err: fmt.Errorf("command exited with code %d", code), Code: int(code)}
	}
	return err
}

// Attach implements streaming.Runtime.
func (s streamer) Attach(ctx context.Context, id string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	p, err := openPipes(in != nil, out != nil, errs != nil)
	if err != nil {
		return err
	}
	defer p.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go follow(done, resize, func(w, h uint16) { _ = s.r.shim.Resize(ctx, id, w, h) })
	var copies sync.WaitGroup
	if p.out != nil {
		copies.Go(func() {
			if _, err := io.Copy(out, p.out); err != nil {
				cancel() // the client went away
			}
		})
	}
	if p.err != nil {
		copies.Go(func() {
			if _, err := io.Copy(errs, p.err); err != nil {
				cancel()
			}
		})
	}
	if p.in != nil {
		go func() {
			_, _ = io.Copy(p.in, in)
			p.in.Close()
			if out == nil && errs == nil {
				cancel()
			}
		}()
	}
	err = s.r.shim.Attach(ctx, id, p.names, p.theirs...)
	p.closeTheirs()
	copies.Wait()
	return err
}

// PortForward implements streaming.Runtime: it connects within the sandbox's
// network.
func (s streamer) PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := s.r.dial(ctx, sandboxID, port)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := make(chan struct{})
	go func() {
		defer close(in)
		_, _ = io.Copy(conn, stream)
		if t, ok := conn.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
	}()
	_, err = io.Copy(stream, conn)
	return err
}

// netns returns the path of a sandbox's network namespace, empty for the host's.
func (r *Runtime) netns(id string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	switch {
	case s == nil:
		return "", kind.New(kind.NotFound, "no sandbox %s", id)
	case !s.ready:
		return "", kind.New(kind.Invalid, "sandbox %s does not run", id)
	case s.rec.Config.HostNetwork:
		return "", nil
	}
	return r.namespace(id, "net"), nil
}

// dial connects to a port of the sandbox's loopback, IPv4 or else IPv6.
func (r *Runtime) dial(ctx context.Context, sandboxID string, port int32) (net.Conn, error) {
	path, err := r.netns(sandboxID)
	if err != nil {
		return nil, err
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		if path != "" {
			goruntime.LockOSThread() // never unlocked: the thread ends with what it entered
			if err := enter(path); err != nil {
				done <- result{err: err}
				return
			}
		}
		d := net.Dialer{Timeout: dialWait}
		// An address, not a name: the call is made by this thread.
		conn, err := d.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		if err != nil {
			var err6 error
			if conn, err6 = d.DialContext(ctx, "tcp6", net.JoinHostPort("::1", strconv.Itoa(int(port)))); err6 == nil {
				err = nil
			}
		}
		done <- result{conn, err}
	}()
	got := <-done
	if got.err != nil {
		return nil, kind.New(kind.Unavailable, "connecting to port %d of the pod: %w", port, got.err)
	}
	return got.conn, nil
}

func enter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
}
