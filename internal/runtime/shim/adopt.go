package shim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	reapedWait  = 2 * time.Second // for its parent to reap a container that is not our child
	reapedEvery = 2 * time.Millisecond
)

// adopt takes over every container that an earlier shim started, and notes the
// end of those that ended meanwhile.
func (s *Server) adopt() error {
	entries, err := os.ReadDir(s.dir.in("containers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.adoptOne(e.Name()); err != nil {
			s.log.Warn("taking over a container", "container", e.Name(), "err", err)
		}
	}
	return nil
}

func (s *Server) adoptOne(id string) error {
	if _, err := os.Stat(s.dir.Container(id, ExitFile)); err == nil {
		return nil
	}
	rec, err := Read[Record](s.dir.Container(id, RecordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not prepared to its end
	}
	if err != nil {
		return err
	}
	state, err := Read[State](s.dir.Container(id, StateFile))
	if errors.Is(err, fs.ErrNotExist) {
		var ok bool
		if state, ok = s.halfStarted(id); !ok {
			return nil
		}
		err = Write(s.dir.Container(id, StateFile), state)
	}
	if err != nil {
		return err
	}
	c := &container{id: id, rec: rec, state: state, done: make(chan struct{}), gone: make(chan struct{})}
	if c.log, err = openLog(rec.LogPath); err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(state.Pid, unix.PIDFD_NONBLOCK)
	if err != nil || !state.sameProcess() {
		if err == nil {
			unix.Close(fd)
		}
		s.finish(c, unknownCode, true)
		return nil
	}
	c.pidfd = os.NewFile(uintptr(fd), "pidfd")
	if err := s.openPumps(c); err != nil {
		s.log.Warn("taking over a container's streams", "container", id, "err", err)
	}
	s.look(c)
	s.tasks.Go(func() {
		code, known := c.wait()
		s.finish(c, code, !known)
	})
	return nil
}

// sameProcess is Alive, or ended and not yet reaped.
func (s State) sameProcess() bool {
	_, start, _, ok := stat(s.Pid)
	return ok && s.Boot == BootID() && start == s.Start
}

// halfStarted finds the process of a container that was started when the earlier
// shim was killed, before it noted so.
func (s *Server) halfStarted(id string) (State, bool) {
	pid, err := readPid(s.dir.Container(id, "pid"))
	if err != nil {
		return State{}, false
	}
	groups, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	_, start, _, ok := stat(pid)
	if err != nil || !ok || !strings.Contains(string(groups), id) {
		return State{}, false
	}
	return State{Pid: pid, Start: start, Boot: s.boot, Started: time.Now()}, true
}

// wait waits for a container that is not our child to end, and finds out its
// exit code.
func (c *container) wait() (exit int32, known bool) {
	raw, err := c.pidfd.SyscallConn()
	if err != nil {
		return unknownCode, false
	}
	err = raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return n == 1 || err != nil && err != unix.EINTR
	})
	if err != nil {
		return unknownCode, false
	}
	for end := time.Now().Add(reapedWait); time.Now().Before(end); time.Sleep(reapedEvery) { // nobody tells
		var status int
		var ok bool
		_ = raw.Control(func(fd uintptr) { status, ok = exitOf(int(fd)) })
		if ok {
			return code(unix.WaitStatus(status)), true
		}
	}
	if letter, start, status, ok := stat(c.state.Pid); ok && letter == 'Z' && start == c.state.Start {
		return code(unix.WaitStatus(status)), true
	}
	return unknownCode, false
}

// exitOf asks the kernel for the wait status of a process that was reaped
// (ioctl_pidfd(2), PIDFD_INFO_EXIT); Linux before 6.15 does not know.
func exitOf(fd int) (status int, ok bool) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PIDFD_GET_INFO, uintptr(unsafe.Pointer(&info)))
	return int(info.Exit_code), errno == 0 && info.Mask&unix.PIDFD_INFO_EXIT != 0
}
