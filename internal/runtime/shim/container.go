package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

// outputWait is how long the last words of an ended container are waited for:
// a process that lives on elsewhere may hold the pipe.
const outputWait = 2 * time.Second

// container is one that runs.
type container struct {
	id    string
	rec   Record
	state State
	pidfd *os.File
	log   *logFile
	done  chan struct{} // closed when it has ended and Exit is written
	gone  chan struct{} // closed when the OCI runtime has forgotten it

	mu    sync.Mutex
	pumps []*pump  // output, and error without a terminal
	tty   *os.File // the terminal's master
	stdin *os.File // the write end of its input
}

// run starts a container from its folder; one that runs is left alone. Whoever
// asked first may have gone before it was answered, so that a second asks again.
func (s *Server) run(id string) (int, error) {
	for {
		s.mu.Lock()
		if c := s.containers[id]; c != nil {
			s.mu.Unlock()
			return c.state.Pid, nil
		}
		other := s.starting[id]
		if other == nil {
			break
		}
		s.mu.Unlock()
		<-other
	}
	done := make(chan struct{})
	s.starting[id] = done
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.starting, id)
		close(done)
	}()
	return s.start(id)
}

func (s *Server) start(id string) (int, error) {
	rec, err := Read[Record](s.dir.Container(id, RecordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, kind.New(kind.NotFound, "no container %s", id)
	}
	if err != nil {
		return 0, err
	}
	if _, err := os.Stat(s.dir.Container(id, ExitFile)); err == nil {
		return 0, kind.New(kind.Invalid, "container %s has ended", id)
	}
	if _, err := os.Stat(filepath.Join(s.dir.RuntimeRoot(), id)); err == nil {
		s.deleteState(rec, id) // of a start that did not come to its end
	}
	c := &container{id: id, rec: rec, done: make(chan struct{}), gone: make(chan struct{})}
	if c.log, err = openLog(rec.LogPath); err != nil {
		return 0, err
	}
	stdio, err := s.openStreams(c)
	if err != nil {
		c.log.close()
		return 0, err
	}
	defer closeAll(stdio[:])
	ended := s.reaper.begin()
	defer ended()
	pid, err := s.create(c, stdio)
	if err != nil {
		c.abandon()
		s.deleteState(rec, id)
		return 0, err
	}
	status := s.reaper.claim(pid)
	if err := s.started(c, pid); err != nil {
		return 0, err
	}
	s.tasks.Go(func() { s.finish(c, code(<-status), false) })
	return pid, nil
}

// openStreams makes the container's pipes and returns its ends of them; with a
// terminal there are none.
func (s *Server) openStreams(c *container) (stdio [3]*os.File, err error) {
	if c.rec.TTY {
		return stdio, nil
	}
	for i, name := range []string{"out", "err"} {
		path := s.dir.Container(c.id, name)
		if err := mkfifo(path); err != nil {
			return stdio, err
		}
		// Both directions: as long as the container lives its writes have a reader.
		if stdio[i+1], err = openBlocking(path, unix.O_RDWR); err != nil {
			closeAll(stdio[:])
			return stdio, fmt.Errorf("opening the output of %s: %w", c.id, err)
		}
	}
	if c.rec.Stdin {
		path := s.dir.Container(c.id, "in")
		if err := mkfifo(path); err != nil {
			closeAll(stdio[:])
			return stdio, err
		}
		hold, err := openBlocking(path, unix.O_RDWR) // so that the next two find a partner
		if err == nil {
			stdio[0], err = openBlocking(path, unix.O_RDONLY)
		}
		if err != nil {
			closeAll(append(stdio[:], hold))
			return stdio, fmt.Errorf("opening the input of %s: %w", c.id, err)
		}
		hold.Close()
	}
	return stdio, s.openPumps(c)
}

// openPumps opens our ends of the pipes: of a new container, or of one that
// another shim started.
func (s *Server) openPumps(c *container) error {
	if c.rec.TTY {
		return nil
	}
	for _, stream := range []struct{ file, name string }{{"out", "stdout"}, {"err", "stderr"}} {
		f, err := os.OpenFile(s.dir.Container(c.id, stream.file), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("opening the output of %s: %w", c.id, err)
		}
		c.pumps = append(c.pumps, newPump(f, c.log, stream.name))
	}
	if c.rec.Stdin {
		// Without a reader there is nobody to write to: the container closed it.
		c.stdin, _ = os.OpenFile(s.dir.Container(c.id, "in"), os.O_WRONLY|unix.O_NONBLOCK, 0)
	}
	return nil
}

// openBlocking opens a file as programs expect their standard streams: os.OpenFile
// would make a pipe non-blocking, for the container too.
func openBlocking(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func mkfifo(path string) error {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making pipe %s: %w", path, err)
	}
	return nil
}

// create has the OCI runtime make and start the container, and returns its
// first process.
func (s *Server) create(c *container, stdio [3]*os.File) (int, error) {
	bundle := s.dir.Container(c.id)
	args := []string{"run", "--detach", "--bundle", bundle, "--pid-file", filepath.Join(bundle, "pid")}
	if c.rec.TTY {
		master, err := s.withConsole(func(socket string) error {
			return s.runtime(c.rec.Runtime, bundle, stdio, append(args, "--console-socket", socket, c.id)...)
		})
		if err != nil {
			return 0, err
		}
		s.setTerminal(c, master)
	} else if err := s.runtime(c.rec.Runtime, bundle, stdio, append(args, c.id)...); err != nil {
		return 0, err
	}
	return readPid(filepath.Join(bundle, "pid"))
}

func (s *Server) setTerminal(c *container, master *os.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tty, c.stdin = master, master
	out, err := dup(master)
	if err != nil {
		s.log.Warn("reading a terminal", "container", c.id, "err", err)
		return
	}
	c.pumps = []*pump{newPump(out, c.log, "stdout")}
}

// hold gives the driver the container's input to hold, or takes a terminal back
// that it held for us.
func (s *Server) hold(w *wire, c *container) error {
	files := w.take()
	if len(files) == 1 && c.rec.TTY && c.terminal() == nil {
		master, err := pollable(files[0])
		if err != nil {
			return err
		}
		s.setTerminal(c, master)
		for _, p := range c.outputs() {
			s.tasks.Go(p.run)
		}
	} else {
		closeAll(files)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stdin == nil {
		return w.send(&Response{})
	}
	return w.send(&Response{}, c.stdin)
}

func (c *container) terminal() *os.File {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tty
}

func (c *container) outputs() []*pump {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.pumps)
}

// started notes a container that runs and begins to look after it.
func (s *Server) started(c *container, pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err == nil {
		c.pidfd = os.NewFile(uintptr(fd), "pidfd")
	} // else it has ended and was reaped: that is told through the reaper
	_, start, _, _ := stat(pid)
	c.state = State{Pid: pid, Start: start, Boot: s.boot, Started: time.Now()}
	if err := Write(s.dir.Container(c.id, StateFile), c.state); err != nil {
		return fmt.Errorf("noting the start of %s: %w", c.id, err)
	}
	s.look(c)
	return nil
}

// look starts the container's pumps and makes it known.
func (s *Server) look(c *container) {
	for _, p := range c.outputs() {
		s.tasks.Go(p.run)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[c.id] = c
}

// finish notes how a container ended and takes away what the OCI runtime holds.
func (s *Server) finish(c *container, exit int32, unknown bool) {
	e := Exit{Code: exit, Unknown: unknown, Finished: time.Now(), OOM: outOfMemory(c.rec.Cgroups)}
	if !c.rec.OwnProcesses {
		killAll(c.rec.Cgroups) // nobody else ends them
	}
	limit, cancel := context.WithTimeout(context.Background(), outputWait)
	defer cancel()
	for _, p := range c.outputs() {
		select {
		case <-p.done:
		case <-limit.Done():
		}
	}
	if err := Write(s.dir.Container(c.id, ExitFile), e); err != nil {
		s.log.Error("noting the end of a container", "container", c.id, "err", err)
	}
	close(c.done)
	s.tell(c.id)
	c.abandon()
	s.deleteState(c.rec, c.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, c.id)
	close(c.gone)
}

// abandon closes what is open for a container.
func (c *container) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	closeAll([]*os.File{c.pidfd, c.tty})
	if c.stdin != c.tty {
		closeAll([]*os.File{c.stdin})
	}
	c.tty, c.stdin = nil, nil
	c.log.close()
	for _, p := range c.pumps {
		p.from.Close()
	}
}

// deleteState has the OCI runtime forget the container: its cgroups go too.
func (s *Server) deleteState(rec Record, id string) {
	if _, err := os.Stat(filepath.Join(s.dir.RuntimeRoot(), id)); err != nil {
		return
	}
	if err := s.runtime(rec.Runtime, s.dir.Container(id), [3]*os.File{}, "delete", "--force", id); err != nil {
		s.log.Warn("deleting a container", "container", id, "err", err)
	}
}

// outOfMemory reports whether the kernel killed in one of the groups for memory.
func outOfMemory(groups []string) bool {
	for _, g := range groups {
		for _, file := range []string{"memory.oom_control", "memory.events"} { // versions 1 and 2
			b, err := os.ReadFile(filepath.Join(g, file))
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(b)) {
				if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
					return true
				}
			}
		}
	}
	return false
}

// killAll kills every process of the groups.
func killAll(groups []string) {
	for _, g := range groups {
		if os.WriteFile(filepath.Join(g, "cgroup.kill"), []byte("1"), 0) == nil {
			return
		}
		b, err := os.ReadFile(filepath.Join(g, "cgroup.procs"))
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL) // gone already is as good
			}
		}
		return // every hierarchy holds the same processes
	}
}

func readPid(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("reading %s: %q is no process", path, b)
	}
	return pid, nil
}
