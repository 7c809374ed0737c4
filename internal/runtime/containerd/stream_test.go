package containerd_test

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"trireme/internal/runtime"
	"trireme/internal/runtime/runtimetest"
)

// TestExecStreams drives the streaming address as kubectl's SPDY client does.
func TestExecStreams(t *testing.T) { eachDriver(t, testExecStreams) }

func testExecStreams(t *testing.T, n *node) {
	defer n.run(t)()
	r := n.dial(t)
	p := n.pod(t, r, "streamed", nil, "serve")
	exec := func(opts runtime.StreamOptions, stdin string) (string, error) {
		u, err := r.Exec(t.Context(), p.container, opts)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		streams := remotecommand.StreamOptions{Stdout: &out, Tty: opts.TTY}
		if opts.Stdin {
			streams.Stdin = strings.NewReader(stdin)
		}
		err = spdy(t, u).StreamWithContext(ctxOf(t), streams)
		return out.String(), err
	}
	if out, err := exec(runtime.StreamOptions{Cmd: []string{runtimetest.Prog, "print", "streamed"}, Stdout: true}, ""); err != nil || out != "streamed\n" {
		t.Errorf("print: %q, %v", out, err)
	}
	if out, err := exec(runtime.StreamOptions{Cmd: []string{runtimetest.Prog, "cat"}, Stdin: true, Stdout: true}, "in and out"); err != nil || out != "in and out" {
		t.Errorf("cat: %q, %v", out, err)
	}
	if out, err := exec(runtime.StreamOptions{Cmd: []string{runtimetest.Prog, "print", "tty"}, Stdout: true, TTY: true}, ""); err != nil || out != "tty\r\n" {
		t.Errorf("print on a terminal: %q, %v", out, err)
	}
	_, err := exec(runtime.StreamOptions{Cmd: []string{runtimetest.Prog, "exit", "5"}, Stdout: true}, "")
	if err == nil || !strings.Contains(err.Error(), "exit code 5") {
		t.Errorf("exit 5: %v", err)
	}
}

func spdy(t *testing.T, u *url.URL) remotecommand.Executor {
	t.Helper()
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: u.Host}, http.MethodPost, u)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
