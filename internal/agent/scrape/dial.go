package scrape

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// dialWithin connects to an address, an IP and a port, in the network namespace of a
// process.
func dialWithin(ctx context.Context, process int, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// Never unlocked: the thread is of no use to others and ends with this function.
		runtime.LockOSThread()
		if err := enter(process); err != nil {
			done <- result{nil, err}
			return
		}
		// The socket is made on this thread: an address that is no name needs no other.
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		done <- result{conn, err}
	}()
	r := <-done // the dialer minds ctx
	return r.conn, r.err
}

// enter moves the calling thread to the network namespace of a process.
func enter(process int) error {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", process), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the pod's network namespace: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the pod's network namespace: %w", err)
	}
	return nil
}
