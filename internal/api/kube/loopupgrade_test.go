package kube

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// A handler that takes the connection of an in-process request speaks with its client
// over it; both ends see the other's end, and that of the request.
func TestLoopbackConnection(t *testing.T) {
	l := &loopback{}
	ended := make(chan error, 2)
	l.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, in, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\nhello "); err != nil {
			t.Error(err)
		}
		line, err := in.ReadString('\n')
		if err == nil {
			_, err = io.WriteString(conn, line)
		}
		ended <- err
	}))
	open := func(ctx context.Context) net.Conn {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://loopback/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		resp, err := (&loopbackOf{l, loopbackUser}).RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", resp, err)
		}
		return resp.Body.(net.Conn)
	}
	conn := open(t.Context())
	if _, err := io.WriteString(conn, "world\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello world\n" {
		t.Errorf("the handler said %q, %v", line, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	open(ctx)
	cancel()
	if err := <-ended; err == nil {
		t.Error("the handler's read went on when the request had ended")
	}
}
