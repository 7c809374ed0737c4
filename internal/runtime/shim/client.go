package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

// Client calls the shim of a folder. Each call has a connection of its own; a
// shim that does not answer is kind.Unavailable.
type Client struct{ Dir Dir }

// call sends one request and receives its first answer. The connection stays
// open; ctx closes it until release is called.
func (c Client) call(ctx context.Context, r *Request, files ...*os.File) (w *wire, answer *Response, release func() bool, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.Dir.Socket())
	if err != nil {
		return nil, nil, nil, c.failed(ctx, r, err)
	}
	w = &wire{conn: conn.(*net.UnixConn)}
	release = context.AfterFunc(ctx, func() { w.conn.Close() })
	answer = &Response{}
	if err = w.send(r, files...); err == nil {
		err = w.receive(answer)
	}
	if err != nil {
		err = c.failed(ctx, r, err)
	} else {
		err = answer.err()
	}
	if err != nil {
		release()
		w.close()
		return nil, nil, nil, err
	}
	return w, answer, release, nil
}

func (c Client) failed(ctx context.Context, r *Request, err error) error {
	if ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return kind.New(kind.Timeout, "asking the shim to %s: %w", r.Op, ctx.Err())
		}
		return fmt.Errorf("asking the shim to %s: %w", r.Op, ctx.Err())
	}
	return kind.New(kind.Unavailable, "asking the shim to %s: %w", r.Op, err)
}

// once is a call with one answer.
func (c Client) once(ctx context.Context, r *Request) (*Response, error) {
	w, answer, release, err := c.call(ctx, r)
	if err != nil {
		return nil, err
	}
	release()
	w.close()
	return answer, nil
}

// Hello returns the shim's version of the protocol and its process.
func (c Client) Hello(ctx context.Context) (*Response, error) {
	return c.once(ctx, &Request{Op: OpHello})
}

// Run starts a container whose folder is prepared.
func (c Client) Run(ctx context.Context, id string) error {
	_, err := c.once(ctx, &Request{Op: OpRun, ID: id})
	return err
}

// Signal sends a signal to a container's first process; kind.NotFound if it
// does not run.
func (c Client) Signal(ctx context.Context, id string, sig unix.Signal) error {
	_, err := c.once(ctx, &Request{Op: OpSignal, ID: id, Signal: int(sig)})
	return err
}

// Delete kills a container that runs and has the OCI runtime forget it.
func (c Client) Delete(ctx context.Context, id string) error {
	_, err := c.once(ctx, &Request{Op: OpDelete, ID: id})
	return err
}

// Reopen makes the shim open a container's log path anew.
func (c Client) Reopen(ctx context.Context, id string) error {
	_, err := c.once(ctx, &Request{Op: OpReopen, ID: id})
	return err
}

// Resize sets the size of a container's terminal.
func (c Client) Resize(ctx context.Context, id string, width, height uint16) error {
	_, err := c.once(ctx, &Request{Op: OpResize, ID: id, Width: width, Height: height})
	return err
}

// Hold returns the write end of a container's input, or its terminal, nil if it
// has none. have is what an earlier shim gave, nil if none did; it stays the
// caller's.
func (c Client) Hold(ctx context.Context, id string, have *os.File) (*os.File, error) {
	var files []*os.File
	if have != nil {
		files = append(files, have)
	}
	w, _, release, err := c.call(ctx, &Request{Op: OpHold, ID: id}, files...)
	if err != nil {
		return nil, err
	}
	defer w.close()
	release()
	got := w.take()
	if len(got) == 0 {
		return nil, nil
	}
	closeAll(got[1:])
	return got[0], nil
}

// Exec is a command that runs in a container.
type Exec struct {
	// TTY is the terminal's master, nil without one. The caller closes it.
	TTY *os.File

	w       *wire
	release func() bool
	failed  func(error) error
}

// Command is what Exec runs.
type Command struct {
	Process json.RawMessage // OCI: process
	TTY     bool            // then it gets no streams
	Streams string          // which files it gets: "ioe" or a part of it
}

// Exec runs a command in a container. The files stay the caller's. When ctx ends
// the command is killed.
func (c Client) Exec(ctx context.Context, id string, cmd Command, files ...*os.File) (*Exec, error) {
	r := &Request{Op: OpExec, ID: id, Process: cmd.Process, TTY: cmd.TTY, Streams: cmd.Streams}
	w, _, release, err := c.call(ctx, r, files...)
	if err != nil {
		return nil, err
	}
	e := &Exec{w: w, release: release, failed: func(err error) error { return c.failed(ctx, r, err) }}
	if got := w.take(); cmd.TTY && len(got) == 1 {
		if e.TTY, err = pollable(got[0]); err != nil {
			e.Close()
			return nil, err
		}
	}
	return e, nil
}

// Wait returns the command's exit code once it has ended.
func (e *Exec) Wait() (int32, error) {
	var answer Response
	if err := e.w.receive(&answer); err != nil {
		return 0, e.failed(err)
	}
	return answer.Code, answer.err()
}

// Close kills the command if it still runs.
func (e *Exec) Close() {
	e.release()
	e.w.close()
}

// Attach gives a container's streams to the files until it ends or ctx does.
func (c Client) Attach(ctx context.Context, id, streams string, files ...*os.File) error {
	w, _, release, err := c.call(ctx, &Request{Op: OpAttach, ID: id, Streams: streams}, files...)
	if err != nil {
		return err
	}
	defer w.close()
	defer release()
	var answer Response
	if err := w.receive(&answer); err != nil && ctx.Err() == nil {
		return c.failed(ctx, &Request{Op: OpAttach}, err)
	}
	return answer.err()
}

// Watch calls begun when the shim watches, then ended for each container that
// ends, until ctx ends or the shim does: the error says why.
func (c Client) Watch(ctx context.Context, begun func(), ended func(id string)) error {
	r := &Request{Op: OpWatch}
	w, _, release, err := c.call(ctx, r)
	if err != nil {
		return err
	}
	defer w.close()
	defer release()
	begun()
	for {
		var answer Response
		if err := w.receive(&answer); err != nil {
			return c.failed(ctx, r, err)
		}
		ended(answer.ID)
	}
}
