package shim

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper is the one that waits for child processes: what it starts itself, and
// what is handed to it as a subreaper. A container's first process may end
// before anybody knows its number, so the end of an unknown one is remembered
// while a start is under way.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan unix.WaitStatus
	ended   map[int]unix.WaitStatus // claimed by nobody yet
	starts  int                     // under way
}

func newReaper() *reaper {
	return &reaper{waiting: map[int]chan unix.WaitStatus{}, ended: map[int]unix.WaitStatus{}}
}

// run reaps until ctx ends.
func (r *reaper) run(ctx context.Context) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGCHLD)
	defer signal.Stop(c)
	for {
		r.reap()
		select {
		case <-c:
		case <-ctx.Done():
			return
		}
	}
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			c <- ws
		} else if r.starts > 0 {
			r.ended[pid] = ws
		}
	}
}

// begin says that a start is under way until done is called.
func (r *reaper) begin() (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.starts--; r.starts == 0 {
			clear(r.ended) // orphans that nobody asked for
		}
	}
}

// claim returns where the end of a process is told, once. The process must be a
// child of ours, or ended since begin.
func (r *reaper) claim(pid int) <-chan unix.WaitStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.claimLocked(pid)
}

func (r *reaper) claimLocked(pid int) <-chan unix.WaitStatus {
	c := make(chan unix.WaitStatus, 1)
	if ws, ok := r.ended[pid]; ok {
		delete(r.ended, pid)
		c <- ws
	} else {
		r.waiting[pid] = c
	}
	return c
}

// command runs a program to its end. Its three first files are stdio; nil ones
// are /dev/null.
func (r *reaper) command(argv []string, stdio [3]*os.File) (unix.WaitStatus, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	files := make([]*os.File, 3)
	for i := range files {
		if files[i] = stdio[i]; files[i] == nil {
			files[i] = null
		}
	}
	var c <-chan unix.WaitStatus
	begun := make(chan struct{})
	go func() {
		defer close(begun)
		if hideUnified && filepath.Base(argv[0]) == "crun" {
			goruntime.LockOSThread() // never unlocked: the thread ends here
			if err = withoutUnified(); err != nil {
				return
			}
		}
		r.mu.Lock() // so that it cannot be reaped before it is waited for
		defer r.mu.Unlock()
		var p *os.Process
		if p, err = os.StartProcess(argv[0], argv, &os.ProcAttr{Dir: "/", Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}); err == nil {
			c = r.claimLocked(p.Pid)
			_ = p.Release() // the reaper waits for it
		}
	}()
	if <-begun; err != nil {
		return 0, err
	}
	return <-c, nil
}

// code is the exit code that a shell would show.
func code(ws unix.WaitStatus) int32 {
	if ws.Signaled() {
		return 128 + int32(ws.Signal())
	}
	return int32(ws.ExitStatus())
}
