package zookeeper

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

func serve(t *testing.T) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(l, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the server ends with %v", err)
		}
	})
	return s, l.Addr().String()
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

func client(t *testing.T, addr string) *zk.Conn {
	t.Helper()
	c, _, err := zk.Connect([]string{addr}, 5*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestClient: a client finds the leader, is told when it changes, and may not write.
func TestClient(t *testing.T) {
	s, addr := serve(t)
	s.Set(map[string][]byte{"/mesos/json.info_0000000001": []byte("one")})
	c := client(t, addr)
	names, stat, changed, err := c.ChildrenW("/mesos")
	if err != nil || !slices.Equal(names, []string{"json.info_0000000001"}) || stat.NumChildren != 1 {
		t.Fatalf("children %v, %+v, %v", names, stat, err)
	}
	data, stat, err := c.Get("/mesos/json.info_0000000001")
	if string(data) != "one" || err != nil || stat.DataLength != 3 {
		t.Errorf("data %q, %+v, %v", data, stat, err)
	}
	if top, _, err := c.Children("/"); err != nil || !slices.Equal(top, []string{"mesos"}) {
		t.Errorf("at the top %v, %v", top, err)
	}
	if ok, _, err := c.Exists("/other"); ok || err != nil {
		t.Errorf("/other: %v, %v", ok, err)
	}
	if _, _, err := c.Get("/other"); !errors.Is(err, zk.ErrNoNode) {
		t.Errorf("of what is not there: %v", err)
	}
	if _, err := c.Create("/mesos/x", nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll)); err == nil {
		t.Error("a client may write")
	}
	_, _, came, err := c.ExistsW("/mesos/json.info_0000000002")
	if err != nil {
		t.Fatal(err)
	}
	s.Set(map[string][]byte{"/mesos/json.info_0000000002": []byte("two")})
	for what, events := range map[zk.EventType]<-chan zk.Event{zk.EventNodeChildrenChanged: changed, zk.EventNodeCreated: came} {
		select {
		case e := <-events:
			if e.Type != what {
				t.Errorf("told of %v, not %v", e.Type, what)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("nobody tells of %v", what)
		}
	}
	if _, _, err := c.Get("/mesos/json.info_0000000001"); !errors.Is(err, zk.ErrNoNode) {
		t.Errorf("of the leader before: %v", err)
	}
}

// TestBadInput: what is no request ends the connection, and no other.
func TestBadInput(t *testing.T) {
	s, addr := serve(t)
	s.Set(map[string][]byte{"/mesos/json.info_0000000001": []byte("one")})
	frame := func(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }
	hello := make([]byte, 44)
	binary.BigEndian.PutUint32(hello[24:], 16) // the password's length
	for name, input := range map[string][]byte{
		"a huge length":              {0x7f, 0xff, 0xff, 0xff},
		"an empty hello":             frame(nil),
		"a password of -2 bytes":     frame(append(make([]byte, 24), 0xff, 0xff, 0xff, 0xfe)),
		"a request cut short":        append(frame(hello), frame([]byte{0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 1, 0})...),
		"two thousand million names": append(frame(hello), frame([]byte{0, 0, 0, 1, 0, 0, 0, 101, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff})...),
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Write(input)
		if err == nil {
			err = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("%s: the connection stays", name)
			}
		}
		c.Close()
	}
	if _, _, err := client(t, addr).Children("/mesos"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestLetters: monitors ask with four letters.
func TestLetters(t *testing.T) {
	_, addr := serve(t)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("ruok")); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(c); string(said) != "imok" || err != nil {
		t.Errorf("ruok: %q, %v", said, err)
	}
}
