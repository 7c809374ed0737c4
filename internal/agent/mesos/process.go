package mesos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"

	"trireme/internal/kind"
	"trireme/internal/mesos/v1/agent"
	"trireme/internal/runtime"
)

// The bounds of commands in containers: how many there are, how much of what one writes is kept
// for who attaches late, and how many chunks may wait for who reads it.
const (
	processesMax = 1000
	keptMax      = 1 << 20
	chunksMax    = 256
)

// process is a command in a container, or its own streams.
type process struct {
	namespace string
	cancel    context.CancelFunc
	done      chan struct{} // closed when it has ended; code and fault are set then
	code      int           // -1: it did not end by itself
	fault     string

	in    *io.PipeWriter // nil: it reads nothing
	sizes chan remotecommand.TerminalSize

	mu        sync.Mutex
	kept      []*agent.ProcessIO // the newest of what it wrote
	keptBytes int
	listeners map[chan *agent.ProcessIO]bool
	over      bool
}

// begin starts a command that goes on beside the request.
func (s *Server) begin(id string, t *target, words []string, tty bool) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nested[id] != nil {
		return nil, kind.New(kind.Conflict, "container %s is there already: choose another container_id", id)
	}
	if len(s.nested) >= processesMax {
		return nil, kind.New(kind.Exhausted, "%d nested containers are there: remove some", len(s.nested))
	}
	ctx, cancel := context.WithCancel(context.Background())
	o := runtime.StreamOptions{Cmd: words, Stdin: true, Stdout: true, Stderr: !tty, TTY: tty}
	to, err := s.cfg.Runtime.Exec(ctx, t.c.ID, o)
	if err != nil {
		cancel()
		return nil, err
	}
	p := newProcess(t, cancel)
	s.nested[id] = p
	return p, p.run(ctx, to, o)
}

// attach returns the streams of the container itself.
func (s *Server) attach(ctx context.Context, t *target, input bool) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	o := runtime.StreamOptions{Stdin: input, Stdout: !input, Stderr: !input && !t.c.TTY, TTY: t.c.TTY}
	to, err := s.cfg.Runtime.Attach(ctx, t.c.ID, o)
	if err != nil {
		cancel()
		return nil, err
	}
	p := newProcess(t, cancel)
	return p, p.run(ctx, to, o)
}

func newProcess(t *target, cancel context.CancelFunc) *process {
	return &process{
		namespace: t.pod.Namespace, cancel: cancel, done: make(chan struct{}), code: -1, sizes: make(chan remotecommand.TerminalSize, 1), listeners: map[chan *agent.ProcessIO]bool{},
	}
}

// run connects to where the runtime streams, and goes on until that ends.
func (p *process) run(ctx context.Context, to *url.URL, o runtime.StreamOptions) error {
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{}, "POST", to)
	if err != nil {
		p.cancel()
		return fmt.Errorf("connecting to a container's streams: %w", err)
	}
	with := remotecommand.StreamOptions{Tty: o.TTY}
	var in *io.PipeReader
	if o.Stdin {
		in, p.in = io.Pipe()
		with.Stdin = in
	}
	if o.Stdout {
		with.Stdout = writer{p, agent.ProcessIO_Data_STDOUT}
	}
	if o.Stderr {
		with.Stderr = writer{p, agent.ProcessIO_Data_STDERR}
	}
	if o.TTY {
		with.TerminalSizeQueue = sizes{p}
	}
	go func() {
		err := e.StreamWithContext(ctx, with)
		if in != nil {
			in.CloseWithError(io.ErrClosedPipe)
		}
		p.finish(err)
	}()
	return nil
}

func (p *process) finish(err error) {
	var exit exec.CodeExitError
	switch {
	case err == nil:
		p.code = 0
	case errors.As(err, &exit):
		p.code = exit.Code
	default:
		p.fault = err.Error()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	for c := range p.listeners {
		close(c)
	}
	p.listeners = nil
	close(p.done)
	p.cancel()
}

// end gives the streams up, and with them the command.
func (p *process) end() { p.cancel() }

func (p *process) closeInput() {
	if p.in != nil {
		p.in.Close()
	}
}

// writer takes what the command writes to one of its outputs.
type writer struct {
	p  *process
	to agent.ProcessIO_Data_Type
}

// Write implements io.Writer. A listener that does not keep up is cut off.
func (w writer) Write(b []byte) (int, error) {
	chunk := &agent.ProcessIO{Type: agent.ProcessIO_DATA.Enum(), Data: &agent.ProcessIO_Data{Type: w.to.Enum(), Data: append([]byte(nil), b...)}}
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept, p.keptBytes = append(p.kept, chunk), p.keptBytes+len(b)
	for p.keptBytes > keptMax {
		p.keptBytes -= len(p.kept[0].GetData().GetData())
		p.kept = p.kept[1:]
	}
	for c := range p.listeners {
		select {
		case c <- chunk:
		default:
			close(c)
			delete(p.listeners, c)
		}
	}
	return len(b), nil
}

// listen returns what the command has written, as far as it is kept, and what it writes until it
// ends or the caller leaves.
func (p *process) listen() (<-chan *agent.ProcessIO, func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := make(chan *agent.ProcessIO, len(p.kept)+chunksMax)
	for _, chunk := range p.kept {
		c <- chunk
	}
	if p.over {
		close(c)
		return c, func() {}
	}
	p.listeners[c] = true
	return c, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.listeners, c)
	}
}

// feed gives the command something to read, or its terminal a size; data of no bytes is the end.
func (p *process) feed(in *agent.ProcessIO) error {
	switch in.GetType() {
	case agent.ProcessIO_DATA:
		if p.in == nil {
			return nil
		}
		if len(in.GetData().GetData()) == 0 {
			return p.in.Close()
		}
		_, err := p.in.Write(in.GetData().GetData())
		return err
	case agent.ProcessIO_CONTROL:
		if w := in.GetControl().GetTtyInfo().GetWindowSize(); w != nil {
			size := remotecommand.TerminalSize{Width: uint16(w.GetColumns()), Height: uint16(w.GetRows())}
			select {
			case p.sizes <- size:
			case <-p.done:
			default: // the newest wins soon enough
			}
		}
	}
	return nil
}

// sizes are those of the command's terminal.
type sizes struct{ p *process }

// Next implements remotecommand.TerminalSizeQueue.
func (s sizes) Next() *remotecommand.TerminalSize {
	select {
	case size := <-s.p.sizes:
		return &size
	case <-s.p.done:
		return nil
	}
}

// endAll ends all commands: the agent ends.
func (s *Server) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.nested {
		p.end()
	}
}
