package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Place is the path of a network namespace that connections are made from: a
// host's, a pod's, the wire's.
type Place string

// Place returns the host's own network.
func (h *Host) Place() Place { return netns(h.Name) }

// Outside returns a place beside the hosts, on the same wire: a client that is
// no machine of the cluster.
func (c *Cluster) Outside() Place { return netns(c.id) }

// PlaceOf returns the network of a process, a pod's container say.
func PlaceOf(pid int) Place { return Place(fmt.Sprintf("/proc/%d/ns/net", pid)) }

func netns(name string) Place { return Place("/run/netns/" + name) }

// Dial makes a connection from the host's network, for clients that run in this
// process.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return h.Place().Dial(ctx, network, address)
}

// Within runs f on a thread that is in the host's network.
func (h *Host) Within(f func() error) error { return h.Place().Within(f) }

// Dial makes a connection from the place. The address is not a name: names are
// looked up on other threads.
func (p Place) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := p.Within(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Within runs f on a thread that is in the namespace. What f starts on other
// goroutines is not.
func (p Place) Within(f func() error) error {
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer here.Close()
	there, err := os.Open(string(p))
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
