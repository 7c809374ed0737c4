package shim

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

// withConsole calls f with the path of a socket and returns the terminal's
// master that the OCI runtime sends there (runc, docs/terminals.md).
func (s *Server) withConsole(f func(socket string) error) (*os.File, error) {
	path := s.temporary() + ".sock"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening for a terminal: %w", err)
	}
	defer l.Close()
	if err := l.SetDeadline(time.Now().Add(consoleWait)); err != nil {
		return nil, err
	}
	if err := f(path); err != nil {
		return nil, err
	}
	// It has connected and sent by now: both wait in the kernel.
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("receiving a terminal: %w", err)
	}
	w := &wire{conn: conn}
	defer w.close()
	if err := w.more(); err != nil && len(w.files) == 0 {
		return nil, fmt.Errorf("receiving a terminal: %w", err)
	}
	files := w.take()
	if len(files) == 0 {
		return nil, kind.New(kind.Internal, "the OCI runtime sent no terminal")
	}
	closeAll(files[1:])
	return pollable(files[0])
}

// pollable makes a file non-blocking, so that waiting for it holds no thread.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	return dup(f)
}

// dup returns a non-blocking duplicate.
func dup(f *os.File) (*os.File, error) {
	var fd int
	var err error
	raw, e := f.SyscallConn()
	if e != nil {
		return nil, e
	}
	e = raw.Control(func(old uintptr) {
		if fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	})
	if e != nil || err != nil {
		return nil, fmt.Errorf("duplicating %s: %w", f.Name(), firstOf(e, err))
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// exec runs a command in a container and answers twice: when it has begun, and
// when it has ended.
func (s *Server) exec(w *wire, c *container, r *Request) (*Response, error) {
	scratch := s.temporary()
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	process := scratch + "/process.json"
	if err := os.WriteFile(process, r.Process, 0o600); err != nil {
		return nil, err
	}
	stdio, err := streams(r.Streams, w.take())
	if err != nil {
		return nil, err
	}
	ended := s.reaper.begin()
	defer ended()
	args := []string{"exec", "--detach", "--process", process, "--pid-file", scratch + "/pid"}
	var answer []*os.File
	if r.TTY {
		master, err := s.withConsole(func(socket string) error {
			return s.runtime(c.rec.Runtime, scratch, stdio, append(args, "--tty", "--console-socket", socket, c.id)...)
		})
		if err != nil {
			return nil, err
		}
		defer master.Close()
		answer = append(answer, master)
	} else if err := s.runtime(c.rec.Runtime, scratch, stdio, append(args, c.id)...); err != nil {
		return nil, err
	}
	closeAll(stdio[:]) // the command's alone now: whoever reads sees its end
	pid, err := readPid(scratch + "/pid")
	if err != nil {
		return nil, err
	}
	return s.await(w, pid, answer)
}

// await answers that a command has begun and returns how it ended. When the
// connection is closed it is killed.
func (s *Server) await(w *wire, pid int, files []*os.File) (*Response, error) {
	status := s.reaper.claim(pid)
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
	} else {
		fd = -1 // it has ended
	}
	gone := make(chan struct{})
	if err := w.send(&Response{Pid: pid}, files...); err != nil {
		close(gone)
	} else {
		s.tasks.Go(func() {
			var nothing Request
			_ = w.receive(&nothing) // returns when the connection ends
			close(gone)
		})
	}
	closeAll(files)
	select {
	case ws := <-status:
		return &Response{Exited: true, Code: code(ws)}, nil
	case <-gone:
	}
	if fd >= 0 {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // ended already is as good
	}
	<-status
	return nil, nil
}

// streams sorts files into standard input, output and error.
func streams(names string, files []*os.File) (stdio [3]*os.File, err error) {
	if len(names) != len(files) {
		closeAll(files)
		return stdio, kind.New(kind.Invalid, "%d files for the streams %q", len(files), names)
	}
	for i, name := range names {
		at := strings.IndexRune("ioe", name)
		if at < 0 || stdio[at] != nil {
			closeAll(files)
			return stdio, kind.New(kind.Invalid, "streams %q", names)
		}
		stdio[at] = files[i]
	}
	return stdio, nil
}

// attach copies between a container and a client's files until one of them ends.
func (s *Server) attach(w *wire, c *container, r *Request) error {
	stdio, err := streams(r.Streams, w.take())
	if err != nil {
		return err
	}
	pumps := c.outputs()
	for i, f := range stdio[1:] {
		if f == nil {
			continue
		}
		own, err := pollable(f)
		if err != nil {
			return err
		}
		if i < len(pumps) {
			pumps[i].attach(own)
			defer pumps[i].detach(own)
		} else {
			own.Close() // a terminal has one stream
		}
	}
	if err := w.send(&Response{Pid: c.state.Pid}); err != nil {
		return nil
	}
	if in := stdio[0]; in != nil {
		own, err := pollable(in)
		if err != nil {
			return err
		}
		defer own.Close() // ends the copying
		s.tasks.Go(func() { c.feed(own) })
	}
	gone := make(chan struct{})
	s.tasks.Go(func() {
		var nothing Request
		_ = w.receive(&nothing)
		close(gone)
	})
	select {
	case <-gone:
	case <-c.done:
	}
	return nil
}

// feed gives the container what a client types. With StdinOnce its input ends
// with the first client's.
func (c *container) feed(from *os.File) {
	c.mu.Lock()
	to := c.stdin
	c.mu.Unlock()
	if to == nil {
		return
	}
	copyIn(to, from)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rec.StdinOnce && !c.rec.TTY && c.stdin != nil {
		c.stdin.Close()
		c.stdin = nil
	}
}

func (c *container) resize(width, height uint16) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tty == nil {
		return nil
	}
	return Resize(c.tty, width, height)
}

// Resize sets a terminal's size in characters.
func Resize(f *os.File, width, height uint16) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	e := raw.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	return firstOf(e, err)
}
