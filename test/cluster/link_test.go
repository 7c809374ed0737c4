package cluster

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// TestLink: a cable that is cut, mended, slow and lossy does what it says, whole
// transfers included.
func TestLink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	ctx := t.Context()
	c, err := New(ctx, Config{Hosts: 2, Binary: "/bin/true"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	a, b := c.Hosts[0], c.Hosts[1]
	echo(t, b)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)

	t.Run("whole", func(t *testing.T) { transfers(t, a, b, want) })
	t.Run("cut", func(t *testing.T) {
		must(t, b.Cut(ctx))
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if conn, err := a.Dial(short, "tcp4", b.Address+":7"); err == nil {
			conn.Close()
			t.Error("a connection through a cut cable")
		}
		must(t, b.Mend(ctx))
		transfers(t, a, b, want[:16])
	})
	t.Run("slow", func(t *testing.T) {
		must(t, b.Impair(ctx, Impairment{Delay: 30 * time.Millisecond}))
		if took := transfers(t, a, b, want[:16]); took < 120*time.Millisecond {
			t.Errorf("a handshake and an answer took %s over 30 ms each way", took)
		}
		transfers(t, a, b, want)
	})
	t.Run("lossy", func(t *testing.T) {
		must(t, b.Impair(ctx, Impairment{Loss: 0.3}))
		if n := echoes(t, a, b); n == 0 || n > packets*9/10 {
			t.Errorf("%d of %d packets came back from a link that loses 30 %% each way", n, packets)
		}
	})
	t.Run("good again", func(t *testing.T) {
		must(t, b.Impair(ctx, Impairment{}))
		if n := echoes(t, a, b); n != packets {
			t.Errorf("%d of %d packets came back from a good link", n, packets)
		}
		transfers(t, a, b, want)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// echo answers on port 7 of the host with what it was sent.
func echo(t *testing.T, h *Host) {
	t.Helper()
	var l net.Listener
	var p net.PacketConn
	must(t, h.Within(func() (err error) {
		if l, err = net.Listen("tcp4", ":7"); err == nil {
			p, err = net.ListenPacket("udp4", ":7")
		}
		return err
	}))
	t.Cleanup(func() { l.Close(); p.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn) // until the other side has enough
				conn.Close()
			}()
		}
	}()
	go func() {
		buf := make([]byte, 64)
		for {
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(buf[:n], from) // lost, or not
		}
	}()
}

// transfers sends data there and back and returns how long it took.
func transfers(t *testing.T, a, b *Host, data []byte) time.Duration {
	t.Helper()
	began := time.Now()
	conn, err := a.Dial(t.Context(), "tcp4", b.Address+":7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	must(t, conn.SetDeadline(began.Add(30*time.Second)))
	go func() { _, _ = conn.Write(data) }() // the reader notices
	got := make([]byte, len(data))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes there and back: %v", len(data), err)
	}
	return time.Since(began)
}

const packets = 80

// echoes sends packets and returns how many came back.
func echoes(t *testing.T, a, b *Host) (n int) {
	t.Helper()
	conn, err := a.Dial(t.Context(), "udp4", b.Address+":7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range packets {
		must(t, conn.SetDeadline(time.Now().Add(50*time.Millisecond)))
		if _, err := conn.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1)
		for {
			if _, err := conn.Read(buf); err != nil {
				break // lost
			}
			if buf[0] == byte(i) {
				n++
				break
			}
		}
	}
	return n
}
