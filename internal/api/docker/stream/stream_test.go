package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Lines say where they come from; frames do. Long lines are sent in pieces.
func TestCopy(t *testing.T) {
	long := strings.Repeat("x", lineMax)
	for _, tt := range []struct {
		in, details, want string
		timed, raw        bool
		skip              int
		wanted            [3]bool
	}{
		{in: "1 out\n2 err\n", want: "\x01\x00\x00\x00\x00\x00\x00\x04out\n\x02\x00\x00\x00\x00\x00\x00\x04err\n", wanted: [3]bool{1: true, 2: true}},
		{in: "1 out\n2 err\n", want: "err\n", raw: true, wanted: [3]bool{2: true}},
		{in: "1 T out\n1 T more", want: "T d out\nT d more", raw: true, details: "d ", timed: true, wanted: [3]bool{1: true}},
		{in: "1 out\n1 more\n", want: "re\n", raw: true, skip: 6, wanted: [3]bool{1: true}},
		{in: "1 " + long + "\n2 e\n", want: long + "\ne\n", raw: true, wanted: [3]bool{1: true, 2: true}},
		{in: "9 out\n", want: "", raw: true, wanted: [3]bool{1: true, 2: true}},
	} {
		var b bytes.Buffer
		f := Frames{Out: &b, Raw: tt.raw, Stop: func() {}, Wanted: tt.wanted, Skip: tt.skip}
		f.Copy(strings.NewReader(tt.in), tt.details, tt.timed)
		if b.String() != tt.want {
			t.Errorf("%.20q gave %.60q; want %.60q", tt.in, b.String(), tt.want)
		}
	}
}

// dial opens a session on a server that hands it over.
func dial(t *testing.T) (net.Conn, *Session) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	got, end := make(chan *Session, 1), make(chan struct{})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s := New(w, req, false)
		defer s.Close()
		if err := s.Open(); err != nil {
			t.Error(err)
		}
		got <- s
		<-end
	})}
	served := make(chan error, 1)
	go func() { served <- web.Serve(l) }()
	t.Cleanup(func() {
		close(end)
		if err := web.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, 133)), nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	return conn, <-got
}

// A client that has closed its half still listens; one that has gone ends the session.
func TestSessionNotices(t *testing.T) {
	conn, s := dial(t)
	if _, err := io.WriteString(conn, "typed"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(s); string(b) != "typed" || err != nil {
		t.Errorf("the session read %q, %v", b, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*noticeEvery)
	defer cancel()
	select {
	case <-s.Context.Done():
		t.Error("half a client ended the session")
	case <-ctx.Done():
	}
	if _, err := io.WriteString(s.Stream(1), "said"); err != nil {
		t.Error(err)
	}
	b := make([]byte, 12)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "\x01\x00\x00\x00\x00\x00\x00\x04said" {
		t.Errorf("the client read %q, %v", b, err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Context.Done():
	case <-time.After(10 * noticeEvery):
		t.Error("the session went on without its client")
	}
	if _, err := s.Stream(1).Write([]byte("x")); err == nil {
		t.Error("writing to nobody was no error")
	}
}
