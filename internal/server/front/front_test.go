package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"trireme/internal/wire"
)

// lead always says so.
func lead(<-chan struct{}) bool { return true }

// manager is a Front with one door, "api", and a relay of managers of pki.
type manager struct {
	*Front
	door, relay string
}

func run(t *testing.T, pki *wire.PKI, name string) *manager {
	t.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	cert, err := pki.Issue(wire.Leaf{Name: name, Group: wire.MastersGroup, Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	relay, door := listen(), listen()
	f, err := New(Config{Relay: relay, Server: wire.ManagersOnly(wire.ServerTLS(cert, pki.Pool(), true)), Client: wire.ManagersOnly(wire.ClientTLS(cert, pki.Pool()))})
	if err != nil {
		t.Fatal(err)
	}
	f.Keep("api", door)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s ended: %v", name, err)
		}
	})
	return &manager{f, door.Addr().String(), relay.Addr().String()}
}

func newPKI(t *testing.T) *wire.PKI {
	t.Helper()
	pki, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return pki
}

// answer serves the term: it answers each line with who asks and where, until the term ends.
func answer(t *testing.T, term *Term) {
	l := term.Listener("api")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewScanner(c); in.Scan(); {
					fmt.Fprintf(c, "%s from %s at %s\n", in.Text(), c.RemoteAddr(), c.LocalAddr())
				}
			}()
		}
	}()
	t.Cleanup(func() {
		term.End()
		<-done
	})
}

func dialled(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func say(t *testing.T, c net.Conn, word string) {
	t.Helper()
	if _, err := fmt.Fprintln(c, word); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	if want := fmt.Sprintf("%s from %s at %s\n", word, c.LocalAddr(), c.RemoteAddr()); err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// TestFollower: who knocks at a manager that follows is served by the one that leads, which sees
// who it is and where it knocked; it waits while nobody leads, and its connection ends with the term.
func TestFollower(t *testing.T) {
	pki := newPKI(t)
	a, b := run(t, pki, wire.ManagerName), run(t, pki, wire.ManagerName)
	early := dialled(t, b.door)
	b.Follow(a.relay)
	term := a.Lead(lead)
	answer(t, term)
	say(t, early, "early")
	c, own := dialled(t, b.door), dialled(t, a.door)
	say(t, c, "one")
	say(t, c, "two")
	say(t, own, "three")
	term.End()
	for _, c := range []net.Conn{early, c, own} {
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("a connection went on after its term: %d bytes", n)
		}
	}
	// Now the other leads, and the first passes on.
	a.Follow(b.relay)
	answer(t, b.Lead(lead))
	say(t, dialled(t, a.door), "four")
}

// TestHalf: who says that nothing more comes still gets the rest of the answer, by way of another
// manager too.
func TestHalf(t *testing.T) {
	pki := newPKI(t)
	a, b := run(t, pki, wire.ManagerName), run(t, pki, wire.ManagerName)
	b.Follow(a.relay)
	term := a.Lead(lead)
	defer term.End()
	for _, door := range []string{a.door, b.door} {
		c := dialled(t, door)
		if _, err := io.WriteString(c, "all"); err != nil {
			t.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		served, err := term.Listener("api").Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(served)
		if err != nil || string(got) != "all" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := io.WriteString(served, "rest"); err != nil {
			t.Error(err)
		}
		if err := served.(*guest).CloseWrite(); err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(c); err != nil || string(rest) != "rest" {
			t.Errorf("%q, %v", rest, err)
		}
		served.Close()
	}
}

// TestStale: what was said to a manager that does not know whether it leads is not read before it
// knows, and never where it does not.
func TestStale(t *testing.T) {
	a := run(t, newPKI(t), wire.ManagerName)
	knows := make(chan struct{}, 1)
	term := a.Lead(func(over <-chan struct{}) bool {
		select {
		case <-knows:
			return true
		case <-over:
			return false
		}
	})
	c := dialled(t, a.door)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	served, err := term.Listener("api").Accept()
	if err != nil {
		t.Fatal(err)
	}
	knows <- struct{}{}
	if n, err := served.Read(make([]byte, 8)); n != 1 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := io.WriteString(c, "y"); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := served.Read(make([]byte, 8))
		read <- err
	}()
	term.End()
	if err := <-read; err == nil {
		t.Error("it read on after its term")
	}
}

// TestStrangers: a node's certificate passes nothing on, nor does another cluster's manager.
func TestStrangers(t *testing.T) {
	pki := newPKI(t)
	a := run(t, pki, wire.ManagerName)
	answer(t, a.Lead(lead))
	for _, stranger := range []*manager{run(t, pki, wire.NodePrefix+"n"), run(t, newPKI(t), wire.ManagerName)} {
		ours, theirs := net.Pipe()
		to, err := stranger.pass(t.Context(), a.relay, "api", theirs)
		if err == nil {
			to.Close()
			t.Error("a stranger was let in")
		}
		ours.Close()
		theirs.Close()
	}
}
