package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
	"trireme/internal/socket"
)

// Server is the shim.
type Server struct {
	dir    Dir
	boot   string
	log    *slog.Logger
	reaper *reaper
	tasks  sync.WaitGroup

	mu         sync.Mutex
	containers map[string]*container
	starting   map[string]chan struct{} // closed when the start has come to its end
	watchers   map[chan string]bool
	names      uint64 // of temporary files
}

// Serve runs the shim until ctx ends; containers go on after that. Only one
// runs in a folder: another returns kind.Exists.
func Serve(ctx context.Context, dir Dir, log *slog.Logger) error {
	s := &Server{dir: dir, boot: BootID(), log: log, reaper: newReaper(), containers: map[string]*container{}, starting: map[string]chan struct{}{}, watchers: map[chan string]bool{}}
	for _, d := range []string{string(dir), dir.RuntimeRoot(), dir.tmp()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("making the shim's folders: %w", err)
		}
	}
	unlock, err := lock(dir.lock())
	if err != nil {
		return err
	}
	defer unlock()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the parent of containers: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.tasks.Go(func() { s.reaper.run(ctx) })
	if err := s.adopt(); err != nil {
		return fmt.Errorf("taking over containers: %w", err)
	}
	l, err := socket.Listen(dir.Socket())
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil // what still waits for containers ends with the process
		}
		if err != nil {
			return fmt.Errorf("listening: %w", err)
		}
		s.tasks.Go(func() { s.serve(ctx, &wire{conn: conn}) })
	}
}

func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, kind.New(kind.Exists, "another shim has %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

func (s *Server) serve(ctx context.Context, w *wire) {
	defer w.close()
	stop := context.AfterFunc(ctx, func() { w.conn.Close() })
	defer stop()
	var r Request
	if err := w.receive(&r); err != nil {
		return // it went away
	}
	answer, err := s.do(w, &r)
	if err != nil {
		answer = &Response{Kind: kind.Of(err), Error: err.Error()}
	}
	if answer != nil {
		_ = w.send(answer) // whoever asked may be gone
	}
}

// do carries out a request; a nil response says that all answers were given.
func (s *Server) do(w *wire, r *Request) (*Response, error) {
	if strings.ContainsAny(r.ID, "/\x00") || r.ID == "." || r.ID == ".." {
		return nil, kind.New(kind.Invalid, "%q is no container", r.ID)
	}
	switch r.Op {
	case OpHello:
		return &Response{Version: Version, Pid: os.Getpid()}, nil
	case OpRun:
		pid, err := s.run(r.ID)
		return &Response{Pid: pid}, err
	case OpDelete:
		return &Response{}, s.forget(r.ID)
	case OpWatch:
		return nil, s.watch(w)
	}
	c, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	switch r.Op {
	case OpSignal:
		return &Response{}, c.signal(unix.Signal(r.Signal))
	case OpReopen:
		return &Response{}, c.log.reopen()
	case OpResize:
		return &Response{}, c.resize(r.Width, r.Height)
	case OpHold:
		return nil, s.hold(w, c)
	case OpExec:
		return s.exec(w, c, r)
	case OpAttach:
		return &Response{}, s.attach(w, c, r)
	}
	return nil, kind.New(kind.Invalid, "unknown operation %q", r.Op)
}

// find returns a container that runs.
func (s *Server) find(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.containers[id]
	if !ok {
		return nil, kind.New(kind.NotFound, "container %s does not run", id)
	}
	return c, nil
}

// signal sends to the first process; one that has ended is fine.
func (c *container) signal(sig unix.Signal) error {
	if c.pidfd == nil {
		return nil
	}
	raw, err := c.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); e != nil {
		return nil // it has ended and was closed
	}
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// forget ends a container that still runs and has the OCI runtime drop it.
func (s *Server) forget(id string) error {
	s.mu.Lock()
	c := s.containers[id]
	s.mu.Unlock()
	if c != nil {
		if err := c.signal(unix.SIGKILL); err != nil {
			return err
		}
		<-c.gone
		return nil
	}
	rec, err := Read[Record](s.dir.Container(id, RecordFile))
	if err == nil {
		s.deleteState(rec, id)
	}
	return nil
}

// watchMax is how many ends a watcher may be behind; then its connection is
// closed, and it looks for itself.
const watchMax = 1024

func (s *Server) watch(w *wire) error {
	ends := make(chan string, watchMax)
	s.mu.Lock()
	s.watchers[ends] = true
	s.mu.Unlock()
	gone := make(chan struct{})
	s.tasks.Go(func() {
		var nothing Request
		_ = w.receive(&nothing) // returns when the connection ends
		close(gone)
	})
	defer s.unwatch(ends)
	if err := w.send(&Response{}); err != nil {
		return nil
	}
	for {
		select {
		case id, ok := <-ends:
			if !ok || w.send(&Response{ID: id, Exited: true}) != nil {
				return nil
			}
		case <-gone:
			return nil
		}
	}
}

func (s *Server) unwatch(ends chan string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, ends)
}

// tell says that a container has ended.
func (s *Server) tell(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		select {
		case w <- id:
		default:
			delete(s.watchers, w)
			close(w)
		}
	}
}

// runtime runs the OCI runtime and turns its failure into its own words.
func (s *Server) runtime(binary, scratch string, stdio [3]*os.File, args ...string) error {
	log := scratch + "/runtime.log"
	ws, err := s.reaper.command(append([]string{binary, "--root", s.dir.RuntimeRoot(), "--log", log, "--log-format", "json"}, args...), stdio)
	if err != nil {
		return kind.New(kind.Unavailable, "running %s: %w", binary, err)
	}
	if ws.Exited() && ws.ExitStatus() == 0 {
		return nil
	}
	return complaint(log, args[0], ws)
}

// complaint is the last error in the OCI runtime's log.
func complaint(log, what string, ws unix.WaitStatus) error {
	b, _ := os.ReadFile(log) // without one there is only the exit status
	message := ""
	for line := range strings.Lines(string(b)) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && (entry.Level == "error" || entry.Level == "fatal" || message == "") {
			message = entry.Msg
		}
	}
	if message == "" {
		return kind.New(kind.Internal, "%s: exit status %d", what, code(ws))
	}
	return kind.New(kindOf(message), "%s: %s", what, message)
}

// kindOf tells what the container's configuration asks for in vain from what
// this machine lacks.
func kindOf(message string) kind.Kind {
	for _, text := range []string{"not found", "o such file", "ermission denied", "is a directory", "exec format"} {
		if strings.Contains(message, text) {
			return kind.Invalid
		}
	}
	return kind.Internal
}

// temporary returns a path of its own for a short-lived file.
func (s *Server) temporary() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names++
	return fmt.Sprintf("%s/%x-%x", s.dir.tmp(), os.Getpid(), s.names)
}

// deadline of a console: the OCI runtime sends it before it starts anything.
const consoleWait = 30 * time.Second
