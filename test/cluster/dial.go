package cluster

import (
	"context"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial makes a connection from the host's network, for clients that run in this
// process.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := h.Within(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Within runs f on a thread that is in the host's network namespace. What f
// starts on other goroutines is not.
func (h *Host) Within(f func() error) error {
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer here.Close()
	there, err := os.Open("/run/netns/" + h.Name)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	// A thread that cannot go back stays locked, and ends with its goroutine.
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		return back
	}
	runtime.UnlockOSThread()
	return err
}
