package fetch

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenAs opens a file of the node with the rights of a user, and of one group, alone.
func OpenAs(uid, gid int, open func() (*os.File, error)) (f *os.File, err error) {
	if uid == 0 {
		return open()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: with the goroutine ends its thread, which is root's no more
		if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
			err = fmt.Errorf("leaving the agent's groups: %w", e)
			return
		}
		if err = errors.Join(unix.Setfsgid(gid), unix.Setfsuid(uid)); err == nil {
			f, err = open()
		}
	}()
	<-done
	return f, err
}
